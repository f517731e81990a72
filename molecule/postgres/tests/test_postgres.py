"""The database answers where it should, to whom it should, and nowhere else."""

from __future__ import annotations

from outside import hardening_gaps

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


def test_the_container_is_hardened(inspect):
    assert hardening_gaps(inspect("postgres-litellm")) == []


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
