# shellcheck shell=bash
# The tests in virtual machines, as one of the steps.

readonly VM_CACHE=$ROOT/target/vm VM_KERNEL=6.12

# virtual_machines IMAGES: prepares the machine and runs its tests, or says why
# this machine cannot.
virtual_machines() {
    local name='virtual machine'
    run_logged "$name" tests/vm/prepare --cache "$VM_CACHE" --kernel "$VM_KERNEL"
    if ((STATUS == 69)); then
        not_run "$name" "$(tail -n 1 "$(log_of "$name")")"
        return 0
    fi
    add "$((STATUS == 0))" "$((STATUS != 0))" 0
    conclude "$name"
    if ((STATUS != 0)); then return 0; fi
    check_counted 'tests in virtual machines' count_cargo \
        with_coverage guest_tests "$VM_CACHE" "$VM_KERNEL" "$1" "$RESULTS/vm"
}
