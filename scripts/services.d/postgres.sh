# shellcheck shell=bash
# One server, with a role and a database for tests.

postgres_user() {
    if id -u postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

# Runs a program of PostgreSQL as somebody whom PostgreSQL accepts.
as_postgres() {
    if [ "$UID" -eq 0 ]; then
        setpriv --reuid="$(postgres_user)" --regid="$(id -g "$(postgres_user)")" --clear-groups -- "$@"
    else
        "$@"
    fi
}

# Where the data really is: not in the folder when PostgreSQL's user may not enter that.
postgres_data() { readlink -f "$dir/postgres"; }

make_postgres_data() {
    local data owner file
    if [ "$UID" -eq 0 ] && ! as_postgres test -x "$dir"; then
        [ ! -L "$dir/postgres" ] || rm -rf "$(postgres_data)" "$dir/postgres"
        [ ! -d "$dir/postgres" ] || rmdir "$dir/postgres"
        data=$(mktemp -d "/var/tmp/waypost-postgres.XXXXXX")
        ln -sfn "$data" "$dir/postgres"
        say "$(postgres_user) may not enter $dir: PostgreSQL keeps its data in $data"
    fi
    mkdir -p "$dir/postgres"
    data=$(postgres_data)
    # A start that was cut off here left half of it.
    find "$data" -mindepth 1 -delete
    owner=$(if [ "$UID" -eq 0 ]; then postgres_user; else id -un; fi)
    chmod 700 "$data"
    file=$(mktemp)
    printf '%s\n' "$password" >"$file"
    chown "$owner" "$data" "$file"
    (cd / && as_postgres "$pg/initdb" -D "$data" -U postgres --pwfile="$file" -A scram-sha-256 -E UTF8 --locale=C \
        --no-sync) >>"$dir/postgres.log" 2>&1 9>&- || {
        rm -f "$file"
        show_log postgres
        fail 1 "PostgreSQL's folder could not be made"
    }
    rm -f "$file"
    install -m 600 -o "$owner" "$dir/tls/server.key" "$data/server.key"
    install -m 644 -o "$owner" "$dir/tls/server.pem" "$data/server.pem"
    cat >"$data/pg_hba.conf" <<'CONF'
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
CONF
    local sync=${WAYPOST_POSTGRES_SYNC:-on}
    cat >"$data/postgresql.conf" <<CONF
listen_addresses = 'localhost'
port = $(port postgres)
unix_socket_directories = ''
max_connections = 200
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
# The fault tests prove what survives a crash; WAYPOST_POSTGRES_SYNC=off is for servers whose data nobody needs again.
fsync = $sync
synchronous_commit = $sync
full_page_writes = $sync
CONF
    as_postgres touch "$data/waypost.made"
}

# Backends outlive a killed postmaster for a moment, and no new one may start beside them. They are known by their
# working folder and their program: a shell may stand in the same folder.
clear_postgres() {
    local data end=$((SECONDS + 5)) process left
    data=$(postgres_data) && [ -d "$data" ] || return 0
    while :; do
        left=()
        for process in /proc/[0-9]*; do
            if [ "$(readlink "$process/cwd" 2>/dev/null)" = "$data" ] &&
                [[ "$(readlink "$process/exe" 2>/dev/null)" =~ /postgres( \(deleted\))?$ ]]; then
                left+=("${process#/proc/}")
            fi
        done
        [ ${#left[@]} -gt 0 ] || break
        [ $SECONDS -lt $end ] || kill -s KILL "${left[@]}" 2>/dev/null || true
        sleep 0.05
    done
    rm -f "$data/postmaster.pid"
}

launch_postgres() {
    local data
    pg=$(find_postgres) || fail 69 "there is no PostgreSQL"
    [ -e "$dir/postgres/waypost.made" ] || make_postgres_data
    data=$(postgres_data)
    clear_postgres
    cd /
    if [ "$UID" -eq 0 ]; then
        spawn postgres setpriv --reuid="$(postgres_user)" --regid="$(id -g "$(postgres_user)")" --clear-groups -- \
            "$pg/postgres" -D "$data" -c "waypost.services=$dir/postgres"
    else
        spawn postgres "$pg/postgres" -D "$data" -c "waypost.services=$dir/postgres"
    fi
}

psql() {
    PGPASSWORD=$password PGCONNECT_TIMEOUT=3 "$pg/psql" -X -q -A -t -h 127.0.0.1 -p "$(port postgres)" -U postgres \
        -d postgres -v ON_ERROR_STOP=1 "$@" 9>&-
}

postgres_answers() { [ "$(psql -c 'SELECT 1' 2>/dev/null)" = 1 ]; }

await_postgres() {
    pg=$(find_postgres) || fail 69 "there is no PostgreSQL"
    await postgres 240 postgres_answers
    # Tests have a role that may make databases, and nothing else.
    [ "$(psql -c "SELECT 1 FROM pg_roles WHERE rolname = '$user'")" = 1 ] ||
        psql -c "CREATE ROLE $user LOGIN CREATEDB PASSWORD '$password'" >&2
    [ "$(psql -c "SELECT 1 FROM pg_database WHERE datname = '$user'")" = 1 ] ||
        psql -c "CREATE DATABASE $user OWNER $user" >&2
}
