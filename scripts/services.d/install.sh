# shellcheck shell=bash
# What the parts need from outside: Debian packages and Kafka's jars.

kafka_version=4.3.1
log4j_version=2.25.4
java_least=17
jars="$repo/target/services/kafka-$kafka_version"

# The first Java that is new enough; JAVA_HOME's, the path's, or any that Debian keeps.
find_java() {
    local java major
    for java in "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
        [ -x "$java" ] || continue
        major=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
        if [ "${major:-0}" -ge "$java_least" ]; then
            echo "$java"
            return
        fi
    done
    return 1
}

# The folder of the newest PostgreSQL.
find_postgres() {
    local initdb
    initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$initdb" ] || initdb=$(command -v initdb) || return 1
    dirname "$initdb"
}

has() { command -v "$1" >/dev/null 2>&1; }

# The packages that are missing for one part.
missing_for() {
    case "$1" in
        kafka)
            find_java >/dev/null || echo default-jre-headless
            [ -d "$jars" ] || has mvn || echo maven
            ;;
        redis | redis-cluster)
            has redis-server || echo redis-server
            has redis-cli || echo redis-tools
            ;;
        redis-sentinel)
            missing_for redis
            has redis-sentinel || echo redis-sentinel
            ;;
        postgres)
            find_postgres >/dev/null || echo postgresql
            ;;
        build)
            has cc || echo gcc
            has c++ || echo g++
            has make || echo make
            has pkg-config || echo pkg-config
            [ -e /usr/include/openssl/ssl.h ] || pkg-config --exists openssl 2>/dev/null || echo libssl-dev
            ;;
        prometheus)
            has promtool || echo prometheus
            ;;
        go)
            has go || echo golang-go
            ;;
        python)
            has python3 || echo python3
            python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
            python3 -m pip --version >/dev/null 2>&1 || echo python3-pip
            ;;
    esac
    if ! has openssl; then echo openssl; fi
}

# Debian starts daemons right after installing them, on ports that may be somebody's. A file in this place forbids it.
# The mark tells ours, which a run that was killed leaves behind, from somebody else's. Nobody needs ours when the lock
# is free. `load-tests/run` has the same file, mark and lock.
policy=/usr/sbin/policy-rc.d
policy_mark='# waypost: no daemon is started while packages are installed'
policy_lock=/run/waypost-install.lock

# Whether the policy is one of ours.
is_our_policy() { grep -qsxF "$policy_mark" "$policy"; }

# Takes away what a run that was killed has left.
forget_policy() {
    [ "$UID" -eq 0 ] && is_our_policy || return 0
    (
        if flock -n 7 && is_our_policy; then
            say "removing $policy, which a run that was killed has left"
            rm -f "$policy"
        fi
    ) 7>"$policy_lock"
}

# Installs what the named parts miss, or says what that is.
install_packages() {
    local part list
    forget_policy
    list=$(for part in "$@"; do missing_for "$part"; done | sort -u | tr '\n' ' ')
    list=${list% }
    [ -n "$list" ] || return 0
    if [ "$UID" -ne 0 ] || ! has apt-get; then
        fail 69 "missing here: $list (Debian's names); as root: apt-get install $list"
    fi
    say "installing $list"
    (
        flock 7
        if [ ! -e "$policy" ] || is_our_policy; then
            trap 'rm -f "$policy"' EXIT
            printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" >"$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq -o Acquire::Retries=3 update
        # shellcheck disable=SC2086 # A list of names.
        apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
            -o Acquire::Retries=3 install $list
    ) 7>"$policy_lock" >"$home/install.log" 2>&1 </dev/null || {
        tail -n 20 "$home/install.log" >&2
        fail 69 "apt-get could not install $list"
    }
    list=$(for part in "$@"; do missing_for "$part"; done | sort -u | tr '\n' ' ')
    [ -z "$list" ] || fail 69 "still missing after the installation: $list"
}

# Fetches Kafka's jars, once for all folders.
install_jars() {
    [ -d "$jars" ] && return
    mkdir -p "${jars%/*}"
    (
        flock 7
        [ -d "$jars" ] && exit 0
        say "fetching Kafka $kafka_version"
        rm -rf "$jars.part"
        mkdir "$jars.part"
        cat >"$jars.part/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>waypost</groupId>
  <artifactId>services</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$kafka_version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$kafka_version</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>$log4j_version</version>
    </dependency>
  </dependencies>
</project>
POM
        local try=1
        until mvn -B -q -f "$jars.part/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
            -DoutputDirectory="$jars.part" >"$jars.log" 2>&1 </dev/null; do
            # Repositories are away for a moment now and then.
            if [ $((try++)) -ge 3 ]; then
                tail -n 20 "$jars.log" >&2
                exit 1
            fi
            sleep 5
        done
        mv "$jars.part" "$jars"
    ) 7>"$jars.lock" || fail 69 "Maven could not fetch Kafka $kafka_version"
}
