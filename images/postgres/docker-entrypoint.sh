#!/bin/bash
# Entry point with the contract of the official "postgres" image:
#   POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB, POSTGRES_INITDB_ARGS, each also as NAME_FILE (a path),
#   POSTGRES_HOST_AUTH_METHOD, POSTGRES_INITDB_WALDIR, PGDATA, scripts in /docker-entrypoint-initdb.d.
# They only matter while the data directory is empty. Started as root it drops to the user postgres;
# started as that user (also with a read-only root file system) it needs write access to PGDATA,
# /run/postgresql and /tmp only.
set -Eeuo pipefail

fail() {
    echo "docker-entrypoint: $*" >&2
    exit 1
}

# setting NAME [DEFAULT]: sets NAME from itself, from the file named by NAME_FILE, or to the default.
setting() {
    local name=$1 default=${2:-} file="${1}_FILE"
    if [[ -n ${!name:-} && -n ${!file:-} ]]; then
        fail "$name and $file are both set; set one of them."
    elif [[ -n ${!file:-} ]]; then
        [[ -r ${!file} ]] || fail "$file names ${!file}, which uid $(id -u) cannot read; check its path, owner and mode."
        printf -v "$name" '%s' "$(<"${!file}")"
    elif [[ -z ${!name:-} ]]; then
        printf -v "$name" '%s' "$default"
    fi
    unset "$file"
}

# As root: hand the directories over, read what only root may read, and start again as postgres.
become_postgres() {
    install -d -o postgres -g postgres -m 0700 "$PGDATA"
    install -d -o postgres -g postgres -m 3775 /run/postgresql
    find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
    setting POSTGRES_PASSWORD
    export POSTGRES_PASSWORD
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$BASH_SOURCE" "$@"
}

as_superuser() {
    PGHOST='' psql --no-psqlrc --no-password --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"
}

run_init_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        echo "docker-entrypoint: running $script"
        case $script in
            *.sh) if [[ -x $script ]]; then "$script"; else . "$script"; fi ;;
            *.sql) as_superuser --dbname "$POSTGRES_DB" --file "$script" ;;
            *.sql.gz) gunzip -c "$script" | as_superuser --dbname "$POSTGRES_DB" ;;
            *) echo "docker-entrypoint: $script is not *.sh, *.sql or *.sql.gz and was skipped" >&2 ;;
        esac
    done
}

create_cluster() {
    local auth=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256} arguments=()
    [[ -n $POSTGRES_PASSWORD || $auth == trust ]] ||
        fail "the data directory $PGDATA is empty and no superuser password was given; set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE."
    # The arguments are a shell-quoted string in the official image too: --locale-provider='icu' and such.
    eval "arguments=($POSTGRES_INITDB_ARGS)"
    [[ -z ${POSTGRES_INITDB_WALDIR:-} ]] || arguments+=(--waldir "$POSTGRES_INITDB_WALDIR")
    if [[ -n $POSTGRES_PASSWORD ]]; then # through a pipe: a password has no place in a command line
        initdb --username "$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${arguments[@]}"
    else
        initdb --username "$POSTGRES_USER" "${arguments[@]}"
    fi
    printf '\nhost all all all %s\n' "$auth" >>"$PGDATA/pg_hba.conf"

    # Reachable on the local socket only until it is complete, so that a TCP probe cannot take it for ready.
    PGUSER=$POSTGRES_USER pg_ctl -w start -o "-c listen_addresses='' -p 5432"
    [[ $POSTGRES_DB == postgres ]] || as_superuser --dbname postgres --set name="$POSTGRES_DB" <<<'CREATE DATABASE :"name";'
    export POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB # for the scripts
    run_init_scripts
    PGUSER=$POSTGRES_USER pg_ctl -w -m fast stop
    echo 'PostgreSQL init process complete; ready for start up.'
}

shopt -s nullglob
[[ ${1:-} != -* ]] || set -- postgres "$@"
if [[ ${1:-} == postgres ]]; then
    [[ $(id -u) != 0 ]] || become_postgres "$@"
    if [[ ! -s $PGDATA/PG_VERSION ]]; then
        setting POSTGRES_PASSWORD
        setting POSTGRES_USER postgres
        setting POSTGRES_DB "$POSTGRES_USER"
        setting POSTGRES_INITDB_ARGS
        create_cluster
    elif [[ $(<"$PGDATA/PG_VERSION") != "$PG_MAJOR" ]]; then
        fail "the data directory $PGDATA belongs to PostgreSQL $(<"$PGDATA/PG_VERSION") and this image is PostgreSQL $PG_MAJOR; dump and restore, or start the matching image."
    fi
    # The server needs none of them, and its environment is readable in /proc.
    unset POSTGRES_PASSWORD POSTGRES_PASSWORD_FILE
fi
exec "$@"
