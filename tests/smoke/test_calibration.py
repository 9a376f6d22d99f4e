"""A calibrated plan measures all unknown costs: every recipe of the run, and the least cost of a job."""

import re


def test_a_calibrated_plan_knows_what_every_job_takes(workplace):
    done = workplace.nmtprune("plan", "--calibrate", "--cores", "2")
    assert done.returncode == 0, done.stderr
    assert "measured: micro" in done.stderr
    jobs, tables = done.stdout.split("\n\n")[1:3]
    header, *rows = [re.split(r"\s{2,}", line) for line in jobs.splitlines()]
    assert header[:5] == ["rule", "jobs", "there", "left", "CPU time"]
    assert {row[0] for row in rows} >= {"train", "retrain", "rejuvenate", "score", "all"}
    assert all(re.fullmatch(r"\d+ (s|min)", row[4]) for row in rows) and int(rows[-1][4].split()[0]) > 0
    assert "wang2020/table2" in tables and "by calibration" in done.stdout
