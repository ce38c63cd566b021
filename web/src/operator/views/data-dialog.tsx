import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { useListed } from "../../act";
import { type Data, type DataWork, type Snapshot, VolumeTask } from "../../gen/rolltop/v1/storage_pb";
import { formatBytes, formatWhen, sentence } from "../../model/format";
import { Dialog, TypedConfirm } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Facts, Field, State } from "../../ui/parts";
import { useCluster } from "../data";
import { dataLook, kindName, resultWords } from "../model/data";
import { useWork } from "../work";
import { DataSnapshots } from "./data-snapshots";
import { WorkBar } from "./work-bar";

interface DataDialogProps {
  data: Data;
  onChanged: () => void;
  onClose: () => void;
}

type Asking =
  | { readonly kind: "delete" }
  | { readonly kind: "roll-back" | "delete-snapshot"; readonly snapshot: Snapshot }
  | undefined;

const EVERY_MS = 15_000;

/** What is kept for somebody in one place, and what can be done with it. */
export function DataDialog({ data, onChanged, onClose }: DataDialogProps): VNode {
  const { storage } = useCluster().clients;
  const { busy, message, act, say, progress, work } = useWork();
  const [asking, setAsking] = useState<Asking>();
  const [done, setDone] = useState("");
  const { id, volume } = data;
  const { listed: snapshots, message: unlisted, again } = useListed(
    async (signal) => (await storage.listSnapshots({ data: id }, { signal })).snapshots,
    EVERY_MS,
  );
  const changed = (said: string): void => {
    setDone(said);
    again();
    onChanged();
  };
  const run = async (task: VolumeTask, begin: (signal: AbortSignal) => AsyncIterable<DataWork>): Promise<void> => {
    setAsking(undefined);
    setDone("");
    const result = await work(begin);
    if (result !== undefined) changed(resultWords(result, task));
  };
  const forget = async (name: string): Promise<void> => {
    setAsking(undefined);
    if (await act(() => storage.deleteSnapshot({ data: id, name }))) changed(`The snapshot ${name} is deleted.`);
  };
  const remove = async (): Promise<void> => {
    setAsking(undefined);
    if (!(await act(() => storage.deleteData({ data: id })))) return;
    onChanged();
    onClose();
  };
  const back = (): void => setAsking(undefined);
  if (asking?.kind === "delete") {
    return (
      <TypedConfirm
        title={`Delete ${id}?`}
        text={`All files in it and its snapshots are deleted for good. ${data.user} begins with an empty one.`}
        word={id}
        action="Delete for good"
        onConfirm={() => void remove()}
        onClose={back}
      />
    );
  }
  if (asking !== undefined) {
    const { name, createdAt } = asking.snapshot;
    return asking.kind === "roll-back" ? (
      <TypedConfirm
        title={`Roll ${id} back?`}
        text={`It becomes what it was ${formatWhen(createdAt)} (${name}). What it is now is kept as a snapshot.`}
        word={id}
        action="Roll back"
        onConfirm={() => {
          const requestId = crypto.randomUUID();
          void run(VolumeTask.ROLL_BACK, (signal) => storage.rollBackData({ data: id, snapshot: name, requestId }, { signal }));
        }}
        onClose={back}
      />
    ) : (
      <TypedConfirm
        title={`Delete the snapshot ${name}?`}
        text={`What ${id} was then cannot be had back any more.`}
        word={name}
        action="Delete for good"
        onConfirm={() => void forget(name)}
        onClose={back}
      />
    );
  }
  return (
    <Dialog title={id} onClose={onClose}>
      <div class="wide" data-testid="data-dialog">
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        {unlisted !== "" && <ErrorNotice>{unlisted}</ErrorNotice>}
        <p class="facts" role="status">
          <State look={dataLook(data)} />
          <span>{sentence(data.problem)}</span>
          <span data-testid="data-done">{done}</span>
        </p>
        <WorkBar progress={progress ?? volume?.work} />
        <Facts
          facts={[
            ["Of", data.user],
            ["Kind", kindName(data.kind)],
            ["Host", data.host],
            ["Used by", data.desktop],
            ["Size", volume && formatBytes(volume.sizeBytes)],
            ["Files take", volume?.usedBytes === undefined ? "" : formatBytes(volume.usedBytes)],
            ["On the host's disk", volume && formatBytes(volume.allocatedBytes)],
            ["Since", formatWhen(volume?.createdAt)],
          ]}
        />
        <DataSnapshots
          snapshots={snapshots}
          busy={busy}
          inUse={data.desktop !== ""}
          onMake={(name, description) => {
            const request = { data: id, name, description, requestId: crypto.randomUUID() };
            void run(VolumeTask.SNAPSHOT, (signal) => storage.createSnapshot(request, { signal }));
          }}
          onRollBack={(snapshot) => setAsking({ kind: "roll-back", snapshot })}
          onDelete={(snapshot) => setAsking({ kind: "delete-snapshot", snapshot })}
        />
        <Grow
          busy={busy}
          say={say}
          onGrow={(sizeMib) => void run(VolumeTask.GROW, (signal) => storage.growData({ data: id, sizeMib }, { signal }))}
        />
        <div class="actions actions-end">
          <button
            type="button"
            class="button"
            disabled={busy}
            data-testid="data-trim"
            onClick={() => void run(VolumeTask.TRIM, (signal) => storage.trimData({ data: id }, { signal }))}
          >
            Trim
          </button>
          <button
            type="button"
            class="button"
            disabled={busy || data.desktop !== ""}
            data-testid="data-check"
            onClick={() => void run(VolumeTask.CHECK, (signal) => storage.checkData({ data: id }, { signal }))}
          >
            Check
          </button>
          <button
            type="button"
            class="button"
            disabled={busy || data.desktop !== ""}
            data-testid="data-delete"
            onClick={() => setAsking({ kind: "delete" })}
          >
            Delete
          </button>
          <button type="button" class="button button-primary" data-testid="data-close" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}

interface GrowProps {
  busy: boolean;
  say: (message: string) => void;
  onGrow: (sizeMib: bigint) => void;
}

function Grow({ busy, say, onGrow }: GrowProps): VNode {
  const [text, setText] = useState("");
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    if (!/^[1-9][0-9]{0,9}$/.test(text.trim())) return say(`“${text.trim()}” is no size. Write a number of MiB, such as 8192.`);
    setText("");
    onGrow(BigInt(text.trim()));
  };
  return (
    <form class="field-row" onSubmit={submit}>
      <Field label="Make it larger: MiB in all" hint="It never becomes smaller.">
        <input required inputMode="numeric" value={text} data-testid="data-size" onInput={(event) => setText(event.currentTarget.value)} />
      </Field>
      <div class="actions">
        <button class="button" disabled={busy} data-testid="data-grow">
          Grow
        </button>
      </div>
    </form>
  );
}
