"""Exact checks of single rules, as functions: unit tests call them, and `mutants` shows that they convict."""


def todo() -> None:
    pass


take_over_ends_the_old_session = take_over_once = only_head_releases = fence_to_the_stamp = todo
absent_rows_are_buried_and_marked = reader_gets_an_absent_row = lease_counts_from_renewals = todo
part_stamp_known_before = part_stamp_comes_last = absence_proves_no_release = request_ids_outlive_recent = todo
