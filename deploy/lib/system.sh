# shellcheck shell=bash
# One host agent and one broker, as children of this program.

readonly READY_S=60      # until the broker answers and knows its host
readonly RELEASE_S=15    # until the kernel has let go of what was used

AGENT_PID=''
BROKER_PID=''

# choose_places: ports, bridge and network; the first free ones, unless named.
choose_places() {
    begin 'Choosing ports and a network'
    if [[ -n $PORT ]]; then
        is_free_port "$PORT" || fail "port $PORT is in use: name another with --port"
    else
        PORT=$(first_free_port 8443)
    fi
    AGENT_PORT=$(first_free_port 7443)
    if [[ -n $BRIDGE ]]; then
        # One that is there already is used as it is.
        [[ $BRIDGE =~ ^[a-z][a-z0-9-]{0,14}$ ]] || fail "'$BRIDGE' cannot be the name of a bridge"
    else
        BRIDGE=$(first_free_bridge)
    fi
    if [[ -z $NETWORK ]]; then NETWORK=$(first_free_network); fi
    URL=https://localhost:$PORT
    done_with "$URL, desktops on $BRIDGE in $NETWORK"
}

is_free_port() { [[ -z $(ss -Hltn "sport = :$1") ]]; }

first_free_port() {
    local port
    for ((port = $1; port < $1 + 100; port++)); do
        if is_free_port "$port"; then printf '%s' "$port" && return 0; fi
    done
    fail "the ports $1 to $((port - 1)) are all in use"
}

first_free_bridge() {
    local n
    for ((n = 0; n < 100; n++)); do
        # Not /sys/class/net: that may be another network namespace's.
        if ! ip link show "rolltop$n" >/dev/null 2>&1; then printf 'rolltop%s' "$n" && return 0; fi
    done
    fail "the links rolltop0 to rolltop99 are all there: name another with --bridge"
}

first_free_network() {
    local n network routes
    for ((n = 77; n < 177; n++)); do
        network=10.$n.0.0/16
        # Routes into it, and routes that contain it; the default route may.
        routes=$({
            ip -4 route show table all root "$network"
            ip -4 route show table all match "$network"
        } | grep -v '^default') || true
        if [[ -z $routes ]]; then printf '%s' "$network" && return 0; fi
    done
    fail "no free network was found: name one with --network, such as 192.168.200.0/24"
}

# refuse_second_agent: two agents would share one nftables table.
refuse_second_agent() {
    if nft list table inet rolltop >/dev/null 2>&1 || nft list table ip rolltop >/dev/null 2>&1; then
        fail "another host agent of Rolltop runs on this machine (there is an nftables table 'rolltop'): stop it first"
    fi
}

# take_down_crashed: what a run that was killed has left.
take_down_crashed() {
    if [[ ! -d $RUN ]]; then return 0; fi
    step 'Taking away what an earlier run has left' "$BIN/rolltop-agent" --config "$STATE/agent.toml" purge
    rm -rf -- "$RUN"
}

# write_configuration: of both daemons, anew at each start.
write_configuration() {
    install -d -m 0700 "$STATE/broker" "$STATE/agent" "$STATE/credentials" "$RUN"
    cat >"$STATE/broker.toml" <<-END
		listen = "$LISTEN:$PORT"
		public_names = [$(public_names)]
		state_dir = "$STATE/broker"
	END
    cat >"$STATE/agent.toml" <<-END
		name = "$HOST_NAME"
		state_dir = "$STATE/agent"
		run_dir = "$RUN/agent"
		images = "$STATE/images"
		socket = "$RUN/agent.sock"
		launcher = "$BIN/rolltop-launcher"
		cgroup_parent = "$(basename "$RUN")"

		[listen]
		address = "127.0.0.1:$AGENT_PORT"
		ca = "$STATE/credentials/ca.pem"
		certificate = "$STATE/credentials/host.pem"
		key = "$STATE/credentials/host-key.pem"

		[network]
		bridge = "$BRIDGE"
		addresses = "$NETWORK"
	END
    if command -v runc >/dev/null; then
        printf '\n[runtimes]\nrunc = "%s"\n' "$(command -v runc)" >>"$STATE/agent.toml"
    fi
}

# public_names: by which other machines may know this one, as TOML strings.
public_names() {
    if [[ $LISTEN == 127.* ]]; then return 0; fi
    { uname --nodename; host_addresses; } | sort -u | sed 's/.*/"&"/' | paste --serial --delimiters ,
}

# Addresses of this machine that are not the desktops' bridge.
host_addresses() {
    ip -4 -o address show scope global | awk -v bridge="$BRIDGE" '$2 != bridge { sub(/\/.*/, "", $4); print $4 }'
}

# enrol: the accounts and the host, while no broker runs.
enrol() {
    begin 'Preparing accounts and the host'
    make_user "$USER_NAME"
    make_user "$OPERATOR" --role admin
    local endpoint=https://127.0.0.1:$AGENT_PORT
    if [[ $(cat "$STATE/credentials/endpoint" 2>/dev/null) != "$endpoint" ]]; then
        "$BIN/rolltop-broker" --config "$STATE/broker.toml" host add "$HOST_NAME" --endpoint "$endpoint" \
            --credentials-out "$STATE/credentials" >>"$LOG" 2>&1
        printf '%s\n' "$endpoint" >"$STATE/credentials/endpoint"
    fi
    done_with
}

# make_user NAME OPTION...: with a generated password that is kept.
make_user() {
    local file=$STATE/$1.password
    if [[ -s $file ]]; then return 0; fi
    (
        umask 077
        "$BIN/rolltop-broker" --config "$STATE/broker.toml" user add "$@" --generate-password >"$file.new" 2>>"$LOG"
    )
    mv -- "$file.new" "$file"
}

# start_system: both daemons, and waits until they know each other.
start_system() {
    start_daemon AGENT_PID agent rolltop-agent
    start_daemon BROKER_PID broker rolltop-broker
    step 'Waiting until the broker answers and its host is ready' wait_until_ready
}

# start_daemon VARIABLE NAME PROGRAM: sets the variable to its process id. It
# ends when this program does, however that happens.
start_daemon() {
    local -n pid=$1
    begin "Starting the $2"
    set -m
    setpriv --pdeathsig TERM -- "$BIN/$3" --config "$STATE/$2.toml" \
        >"$STATE/log/$2.log" 2>&1 </dev/null &
    pid=$!
    set +m
    done_with "process $pid"
}

# wait_until_ready: by signing in, until the deadline or a daemon's end.
wait_until_ready() {
    local deadline=$(($(now_ms) + READY_S * 1000)) state='' status
    until [[ $state == ready ]]; do
        daemons_run || return 1
        if (($(now_ms) > deadline)); then
            printf 'not ready after %s s; the host is "%s"\n' "$READY_S" "${state:-unknown}"
            tail_daemons
            return 1
        fi
        status=0
        as_operator whoami >/dev/null 2>&1 || status=$?
        case $status in
            0) state=$(as_operator host list --output json | jq -r '.hosts[] | select(.name == "'"$HOST_NAME"'") | .state') ;;
            3 | 7) as_operator login --user "$OPERATOR" --password-stdin <"$STATE/$OPERATOR.password" || true ;;
            *) as_operator whoami || true ;;
        esac
        [[ $state == ready ]] || sleep 0.1
    done
}

# as_operator ARGUMENT...: the command line, signed in as the operator.
as_operator() {
    env XDG_CONFIG_HOME="$STATE/operator" XDG_STATE_HOME="$STATE/operator" ROLLTOP_SERVER="$URL" \
        ROLLTOP_CA="$STATE/broker/ca.pem" "$BIN/rolltop" "$@"
}

# daemons_run: both, still; says which one does not, and its last words.
daemons_run() {
    local status=0
    kill -0 "$AGENT_PID" 2>/dev/null || { echo 'the host agent has ended' && status=1; }
    kill -0 "$BROKER_PID" 2>/dev/null || { echo 'the broker has ended' && status=1; }
    if ((status != 0)); then tail_daemons; fi
    return "$status"
}

tail_daemons() {
    local name
    for name in agent broker; do
        printf -- '-- the last lines of %s:\n' "$STATE/log/$name.log"
        tail -n 10 "$STATE/log/$name.log"
    done
}

# take_down: broker, agent, desktops, links, rules, mounts. Whatever fails, the
# rest is done; returns 1 then.
take_down() {
    local status=0
    if [[ -n $BROKER_PID ]]; then end_group "$BROKER_PID" TERM 15; fi
    if [[ -n $AGENT_PID ]]; then
        end_group "$AGENT_PID" TERM 15
        "$BIN/rolltop-agent" --config "$STATE/agent.toml" purge >>"$STATE/log/agent.log" 2>&1 || {
            status=1
            say "the host agent could not take everything away:"
            tail -n 5 "$STATE/log/agent.log"
        }
    fi
    rm -rf --one-file-system -- "$RUN" || status=1
    return "$status"
}
