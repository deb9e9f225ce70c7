"""When things run: jobs, schedules, sensors. What they run is in ``assets``."""
