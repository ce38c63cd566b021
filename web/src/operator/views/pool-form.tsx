import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { type Pool, Strategy } from "../../gen/rolltop/v1/broker_pb";
import { useSession } from "../../session";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { useAct } from "../data";
import { type Faults, type PoolDraft, draftOf, poolOf } from "../model/pool-form";
import { Field } from "../../ui/parts";

interface PoolFormProps {
  /** The pool to change; a new one without it. */
  before?: Pool;
  /** Names that other pools have. */
  taken: readonly string[];
  onSaved: () => void;
  onClose: () => void;
}

type TextField = Exclude<keyof PoolDraft, "persistent" | "home" | "strategy">;

/** Makes or changes a pool, with every field there is. */
export function PoolForm({ before, taken, onSaved, onClose }: PoolFormProps): VNode {
  const { broker } = useSession();
  const { busy, message, act } = useAct();
  const [draft, setDraft] = useState(() => draftOf(before));
  const [faults, setFaults] = useState<Faults>({});
  const set = (change: Partial<PoolDraft>): void => setDraft((old) => ({ ...old, ...change }));

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const { pool, faults: found } = poolOf(draft, before);
    const clash = before === undefined && taken.includes(pool.name);
    const all = clash ? { ...found, name: `There is a pool ${pool.name} already. Choose another name, or change that one.` } : found;
    setFaults(all);
    if (Object.keys(all).length === 0 && (await act(() => broker.putPool({ pool })))) onSaved();
  };
  const text = (name: TextField, label: string, hint?: string): VNode => (
    <Field label={label} fault={faults[name]} {...(hint === undefined ? {} : { hint })}>
      <input
        value={draft[name]}
        autocapitalize="none"
        data-testid={`pool-${name}`}
        aria-invalid={faults[name] !== undefined}
        readOnly={name === "name" && before !== undefined}
        onInput={(event) => set({ [name]: event.currentTarget.value })}
      />
    </Field>
  );
  const area = (name: TextField, label: string, hint?: string): VNode => (
    <Field label={label} {...(hint !== undefined && { hint })} fault={faults[name]}>
      <textarea class="short" value={draft[name]} spellcheck={false} onInput={(event) => set({ [name]: event.currentTarget.value })} />
    </Field>
  );
  return (
    <Dialog title={before === undefined ? "Make a pool" : `Pool ${before.name}`} onClose={onClose}>
      <form class="wide" noValidate data-testid="pool-form" onSubmit={(event) => void submit(event)}>
        <div class="field-row">
          {text("name", "Name")}
          {text("image", "Image", "image:tag or image@version")}
        </div>
        {text("title", "Title", "What people see.")}
        {text("description", "Description")}
        <label class="field-line">
          <input type="checkbox" checked={draft.persistent} onChange={(event) => set({ persistent: event.currentTarget.checked })} />
          Desktops keep their files after logging out
        </label>
        <div class="field-row">
          {text("diskMib", "Disk, MiB")}
          {text("memoryMib", "Memory, MiB", "Empty: no limit.")}
          {text("cpuMillis", "Processor, thousandths", "1500 is one and a half. Empty: no limit.")}
          {text("pids", "Processes", "Empty: no limit.")}
        </div>
        <div class="field-row">
          {text("networkDownBits", "To it, bits a second", "64000 and up. Empty: no limit.")}
          {text("networkUpBits", "From it, bits a second")}
          {text("diskReadBytes", "Disk reads, bytes a second", "65536 and up.")}
          {text("diskWriteBytes", "Disk writes, bytes a second")}
          {text("diskOps", "Disk reads and writes a second", "10 and up.")}
        </div>
        <div class="field-row">
          {area("users", "Open to users", "With no users and no groups: everyone who can sign in.")}
          {area("groups", "Open to groups")}
        </div>
        {text("closed", "Closed because", "Not empty: no new desktops, and this sentence tells people why. Those there go on.")}
        <div class="field-row">
          {text("maxDesktops", "Most desktops", "Empty: as many as fit.")}
          {text("warm", "Made ahead", "So many wait for their users.")}
        </div>
        <div class="field-row">
          {text("idle", "End when unused for", "45s, 30min, 8h or 2d. Empty: never.")}
          {text("disconnected", "With nobody connected for")}
          {text("total", "At most for")}
          {text("warning", "Tell people before")}
        </div>
        <div class="field-row">
          <Field label="Home">
            <select value={draft.home} onChange={(event) => set({ home: event.currentTarget.value as PoolDraft["home"] })}>
              <option value="overlay">on the desktop's disk</option>
              <option value="volume">a volume per user</option>
              <option value="directory">a directory on every host</option>
            </select>
          </Field>
          {draft.home === "volume" && text("homeMib", "Size of a new home, MiB")}
          {draft.home === "directory" && text("homeDirectory", "Directory")}
        </div>
        {area("egress", "Network rules", "One a line: allow|deny DESTINATION [tcp|udp|icmp [PORTS]]. Empty: everything outward may leave.")}
        <div class="field-row">
          <Field label="Hosts">
            <select value={draft.strategy} onChange={(event) => set({ strategy: event.currentTarget.value })}>
              <option value={String(Strategy.UNSPECIFIED)}>as configured</option>
              <option value={String(Strategy.SPREAD)}>spread over all</option>
              <option value={String(Strategy.PACK)}>pack on few</option>
            </select>
          </Field>
          {text("require", "Only hosts with", "Labels: key or key=value.")}
          {text("forbid", "No hosts with")}
          {text("prefer", "Rather hosts with")}
          {text("avoid", "Rather not hosts with")}
          {text("runtime", "Runtime", "Empty: the hosts' default.")}
        </div>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <div class="actions actions-end">
          <button type="button" class="button" onClick={onClose}>
            Cancel
          </button>
          <button class="button button-primary" aria-busy={busy} disabled={busy} data-testid="pool-save">
            Save
          </button>
        </div>
      </form>
    </Dialog>
  );
}
