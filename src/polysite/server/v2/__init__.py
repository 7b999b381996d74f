"""The interface of MUSIC 3.2.40 at `/MUSIC/rest`: a translator over the coordinator, with no store and no locks of its own.

Paths, member names, message texts that clients decide by, conversions and status codes are that server's; where its behaviour
was a fault it is mended, and the page "Coming from MUSIC 3.x" says so.
"""
