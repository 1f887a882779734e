"""Where trainings are done: session, schedule of jobs, budget, progress, statistics, audit."""
