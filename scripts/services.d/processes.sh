# shellcheck shell=bash
# Starting, knowing and ending processes.

# The processes of a part.
processes() {
    case "$1" in
        redis-cluster) echo redis-cluster-1 redis-cluster-2 redis-cluster-3 ;;
        redis-sentinel) echo redis-primary redis-replica redis-sentinel ;;
        *) echo "$1" ;;
    esac
}

# The pid of a process, if it lives and is the one that was started here: its command line names this folder.
pid_of() {
    local pid args=""
    { read -r pid <"$dir/$1.pid"; } 2>/dev/null || return 1
    [[ $pid =~ ^[1-9][0-9]*$ ]] || return 1
    { args=$(tr '\0' ' ' <"/proc/$pid/cmdline"); } 2>/dev/null || return 1
    [[ $args == *" $dir/$1."* || $args == *"=$dir/$1 "* ]] && echo "$pid"
}

# What this run started, to be ended again should the start fail.
spawned=()

# Starts a process of its own session, that holds neither our output nor our locks.
spawn() {
    local name=$1
    shift
    await_free_ports "$name"
    printf -- '---- %(%FT%TZ)T start\n' -1 >>"$dir/$name.log"
    setsid "$@" </dev/null >>"$dir/$name.log" 2>&1 9>&- &
    printf '%s\n' $! >"$dir/$name.pid"
    spawned+=("$name")
    # Until the program has taken the place of this script's copy; `await` tells when it failed.
    while kill -0 $! 2>/dev/null && ! pid_of "$name" >/dev/null; do sleep 0.01; done
}

# Waits until `$3...` succeeds, as long as the process lives.
await() {
    local name=$1 seconds=$2 pid end
    shift 2
    end=$((SECONDS + seconds))
    until "$@"; do
        pid=$(cat "$dir/$name.pid")
        if ! kill -0 "$pid" 2>/dev/null; then
            show_log "$name"
            fail 1 "$name ended while it started"
        fi
        if [ $SECONDS -ge $end ]; then
            show_log "$name"
            fail 1 "$name does not answer after $seconds s"
        fi
        sleep 0.05
    done
}

# What a process said since its last start.
show_log() {
    say "the end of $dir/$1.log:"
    awk '/^---- /{ text = "" } { text = text $0 "\n" } END { printf "%s", text }' "$dir/$1.log" | tail -n 25 >&2 || true
}

# Asks a process to end; then waits for it, and ends it by force when it takes longer than `$2` seconds.
ask_to_end() {
    local pid signal=TERM
    [ "$1" != postgres ] || signal=INT
    pid=$(pid_of "$1") || return 0
    kill -s $signal "$pid" 2>/dev/null || true
    kill -s CONT "$pid" 2>/dev/null || true
}

await_end() {
    local name=$1 seconds=$2 pid end
    if pid=$(pid_of "$name"); then
        end=$((SECONDS + seconds))
        while pid_of "$name" >/dev/null; do
            if [ $SECONDS -ge $end ]; then
                say "$name (pid $pid) did not end in $seconds s: killing it"
                kill -s KILL "$pid" 2>/dev/null || true
                end=$((end + 10))
            fi
            sleep 0.05
        done
    fi
    rm -f "$dir/$name.pid"
    [ "$name" != postgres ] || clear_postgres
}

stop_parts() {
    local part name
    for part in "$@"; do for name in $(processes "$part"); do ask_to_end "$name"; done; done
    for part in "$@"; do for name in $(processes "$part"); do await_end "$name" 10; done; done
}

# Sends bytes (as printf escapes) to host $1, port $2 and prints the first $4 bytes of the answer in hexadecimal.
ask() {
    # shellcheck disable=SC2016 # For the inner shell.
    timeout 3 bash -c 'exec 3<>"/dev/tcp/$1/$2" && printf "$3" >&3 && head -c "$4" <&3 | od -An -v -tx1' \
        ask "$@" 2>/dev/null | tr -d ' \n'
}
