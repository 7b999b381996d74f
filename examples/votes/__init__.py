"""The main job on real input: real ballots counted in critical sections while a client and the server are killed."""
