# shellcheck shell=bash
# What is done with the system while it runs.

# serve: tells the person how to get in, and waits for Ctrl-C.
serve() {
    local ca=$STATE/broker/ca.pem address
    say ""
    say "Rolltop runs. Open one of these in a browser:"
    say ""
    say "    $URL"
    if [[ $LISTEN != 127.* ]]; then
        host_addresses | while read -r address; do say "    https://$address:$PORT"; done
    fi
    cat <<-END

		    user      $USER_NAME
		    password  $(<"$STATE/$USER_NAME.password")

		The browser will warn, once: the certificate is signed by an authority of this
		machine's own. Go on anyway, or let the browser trust the authority:
		    $ca

		The command line, in another terminal:
		    export ROLLTOP_SERVER=$URL ROLLTOP_CA=$ca
		    alias rolltop=$BIN/rolltop
		    rolltop login --user $USER_NAME --password-stdin <$STATE/$USER_NAME.password
		    rolltop desktop start demo
		    rolltop desktop shell demo
		Operators sign in as '$OPERATOR'; the password is in $STATE/$OPERATOR.password.
		Logs: $STATE/log

		Ctrl-C ends it and leaves the machine as it was.

	END
    # Until a daemon ends, which none should, or a signal comes.
    wait -n "$AGENT_PID" "$BROKER_PID" || true
    say "A daemon has ended by itself."
    daemons_run || true
    exit 1
}

# run_command: the command from the command line, told where the system is.
run_command() {
    local status=0
    say ""
    in_system "${COMMAND[@]}" || status=$?
    say ""
    daemons_run || status=1
    exit "$status"
}

# in_system COMMAND...: runs it with all it needs to use the system.
in_system() {
    env ROLLTOP_URL="$URL" ROLLTOP_CA="$STATE/broker/ca.pem" ROLLTOP_CLI="$BIN/rolltop" \
        ROLLTOP_USER="$USER_NAME" ROLLTOP_PASSWORD="$(<"$STATE/$USER_NAME.password")" \
        ROLLTOP_OPERATOR="$OPERATOR" ROLLTOP_OPERATOR_PASSWORD="$(<"$STATE/$OPERATOR.password")" \
        ROLLTOP_IMAGES="$STATE/images" "$@"
}

# verify: a desktop's whole life through a real browser. What there is of it on
# this machine afterwards is only what all desktops share.
verify() {
    local before=$STATE/log/machine-ready changes
    local shared="mount: .* on $RUN/agent/bases/|control group: [a-z]+/${RUN##*/}\$"
    machine_state >"$before"
    step 'Working in a desktop through a headless Chromium' \
        in_system node "$ROOT/tests/browser/verify.mjs" "$PICTURE"
    begin 'Looking for anything left of the desktop'
    changes=$(machine_restored "$before" "$RELEASE_S" "$shared") || {
        say "$changes"
        fail "this is left of the desktop"
    }
    daemons_run
    done_with
    say "The picture is $PICTURE"
}
