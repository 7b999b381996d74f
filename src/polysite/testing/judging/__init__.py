"""What a history must be like, judges that say where one is not, and how that is shown to people.

judge            all of it: which judge reads which calls
sequential       rows under locks, tenure by tenure
stamped          rows with stamps, under locks or not, in the end and at every time
lists            lists of several keys under joint locks: one order of all tenures
plain_reads      reads without a lock in drills
asked_again      requests that were asked again
findings         kinds of what is found
shrinking        the calls without which the judge would not say the same
timeline         those as a picture; `call_words` words it, `explaining` joins the two
"""
