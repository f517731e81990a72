"""The database answers where it should, to whom it should, and nowhere else."""

from __future__ import annotations

from container_hardening import findings_of_platform

PASSWORD = "correct-horse-battery-staple"


def query(host, sql, password=PASSWORD):
    """Ask through the published port, as a program on the host would."""
    image = host.check_output("docker inspect -f '{{.Image}}' postgres-litellm")
    return host.run(
        f"PGPASSWORD={password} docker run --rm --network host -e PGPASSWORD {image} "
        f"psql -h 127.0.0.1 -p 5433 -U litellm -d litellm -tAc \"{sql}\""
    )


def test_it_answers_on_loopback_with_the_right_password(host):
    assert query(host, "SELECT 6 * 7").stdout.strip() == "42"


def test_a_wrong_password_is_refused(host):
    answer = query(host, "SELECT 1", password="wrong")
    assert answer.rc != 0 and "password authentication failed" in answer.stderr


def test_it_does_not_answer_from_outside(outside):
    assert not outside.connects(5433) and not outside.connects(5432)


def test_a_setting_reaches_the_server(host):
    assert query(host, "SHOW max_connections").stdout.strip() == "50"


def test_queries_that_run_in_parallel_have_the_shared_memory_that_was_asked_for(host):
    assert host.check_output("docker exec postgres-litellm df --block-size=1M --output=size /dev/shm").split()[-1] == "256"


def test_the_container_is_hardened(inspect):
    assert findings_of_platform({"postgres-litellm": inspect("postgres-litellm")}) == {}


def test_the_password_is_in_no_unit_process_list_log_or_inspection(host):
    for command in ("systemctl cat postgres-litellm", "ps axww", "journalctl --no-pager", "docker inspect postgres-litellm"):
        assert PASSWORD not in host.check_output(command), command


def test_the_password_file_is_for_the_server_alone(host):
    file = host.file(host.check_output("ls /etc/private-llm/postgres-litellm/*/files/run/secrets/postgres_password"))
    assert (file.mode, file.uid) == (0o600, 999)
    assert host.file("/etc/private-llm/postgres-litellm").mode == 0o700


def test_each_log_line_is_in_the_journal_once(host):
    # Put together by the server, so that the statement itself, wherever it is logged, does not hold the word.
    query(host, "DO \\$\\$ BEGIN RAISE LOG '%', 'one' || 'line' || 'only'; END \\$\\$")
    assert host.check_output("journalctl --no-pager -o cat -b | grep -c onelineonly") == "1"


def test_a_killed_server_is_running_again_with_its_data(host):
    query(host, "CREATE TABLE IF NOT EXISTS kept AS SELECT 'here' AS word")
    before = host.check_output("docker inspect -f '{{.Id}}' postgres-litellm")
    host.check_output("kill -9 $(docker inspect -f '{{.State.Pid}}' postgres-litellm)")
    host.check_output(
        f"for i in $(seq 60); do id=$(docker inspect -f '{{{{.Id}}}}' postgres-litellm 2>/dev/null); "
        f'[ "$id" != {before} ] && docker exec postgres-litellm pg_isready -q -h 127.0.0.1 && exit 0; sleep 0.5; done; exit 1'
    )
    assert query(host, "SELECT word FROM kept").stdout.strip() == "here"


# -- dumps -----------------------------------------------------------------------------------------------------------------

DUMPS = "/var/lib/private-llm/backups/postgres-litellm"
DUMP_NOW = "/usr/bin/python3 -I /opt/private-llm/postgres-litellm-backup/postgres_backup.py once"


def dumps(host):
    return host.check_output(f"ls {DUMPS}").split()


def test_the_first_dump_is_made_without_anybody_asking(host):
    assert dumps(host) and all(name.endswith(".dump") for name in dumps(host))


def test_a_dump_brings_back_what_was_lost(host):
    query(host, "DROP TABLE IF EXISTS precious; CREATE TABLE precious AS SELECT n, md5(n::text) AS word FROM generate_series(1, 5000) AS n")
    before = query(host, "SELECT count(*), md5(string_agg(word, ',' ORDER BY n)) FROM precious").stdout
    assert host.run(DUMP_NOW).rc == 0
    query(host, "DROP TABLE precious")
    assert query(host, "SELECT count(*) FROM precious").rc != 0
    host.check_output(
        "docker exec --interactive postgres-litellm pg_restore --username=litellm --dbname=litellm --clean --if-exists --exit-on-error "
        f"< {DUMPS}/{dumps(host)[-1]}"
    )
    assert query(host, "SELECT count(*), md5(string_agg(word, ',' ORDER BY n)) FROM precious").stdout == before


def test_dumps_are_for_root_alone(host):
    assert host.check_output(f"stat -c '%a %U' {DUMPS}") == "700 root"
    assert set(host.check_output(f"stat -c '%a %U' {DUMPS}/*").splitlines()) == {"600 root"}


def test_prometheus_is_told_when_the_last_good_dump_was_made(host):
    text = host.check_output("cat /var/lib/private-llm/metrics/backup-postgres-litellm.prom")
    stamp = float(text.split('last_success_timestamp_seconds{backup="postgres-litellm"} ')[1].split()[0])
    assert 0 <= float(host.check_output("date +%s")) - stamp < 3600
    assert host.check_output("stat -c %a /var/lib/private-llm/metrics/backup-postgres-litellm.prom") == "644"


def test_dumps_that_are_too_old_are_removed_and_others_stay(host):
    host.check_output(f"touch {DUMPS}/2020-01-01T023000Z.dump")
    newest = dumps(host)[-1]
    assert host.run(DUMP_NOW).rc == 0
    assert "2020-01-01T023000Z.dump" not in dumps(host) and newest in dumps(host)


def test_a_dump_that_fails_says_why_and_leaves_what_was_there(host):
    before = dumps(host)
    told = host.check_output("cat /var/lib/private-llm/metrics/backup-postgres-litellm.prom")
    host.check_output("systemctl stop postgres-litellm")
    try:
        outcome = host.run(DUMP_NOW)
    finally:
        host.check_output("systemctl start postgres-litellm")
    assert outcome.rc == 1 and "No dump of postgres-litellm: pg_dump ended with" in outcome.stderr and before[-1] in outcome.stderr
    assert dumps(host) == before
    assert host.check_output("cat /var/lib/private-llm/metrics/backup-postgres-litellm.prom") == told
    host.check_output("timeout 60 sh -c 'until docker exec postgres-litellm pg_isready -q -U litellm; do sleep 1; done'")


def test_the_dumper_has_none_of_roots_powers(host):
    status = host.check_output("cat /proc/$(systemctl show -P MainPID postgres-litellm-backup)/status")
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
