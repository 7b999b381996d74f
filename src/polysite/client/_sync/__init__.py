# Generated from src/polysite/client/_async/__init__.py by scripts/generate_sync.py; change that file, not this one.
