"""Assets, jobs and schedules; each module says what belongs in it."""
