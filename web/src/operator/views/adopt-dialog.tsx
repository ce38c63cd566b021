import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { AdoptDataResponse } from "../../gen/rolltop/v1/storage_pb";
import { sentence } from "../../model/format";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Field, FormButtons } from "../../ui/parts";
import { useAct, useCluster } from "../data";

/** Notes what a host keeps and nobody here knows of: after a restore, or when a disk was moved. */
export function AdoptDialog({ onClose }: { onClose: () => void }): VNode {
  const { clients, hosts } = useCluster();
  const { busy, message, act } = useAct();
  const names = [...(hosts?.keys() ?? [])].sort();
  const [chosen, setChosen] = useState("");
  const [done, setDone] = useState<AdoptDataResponse>();
  const host = chosen === "" ? (names[0] ?? "") : chosen;
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    void act(async () => setDone(await clients.storage.adoptData({ host })));
  };
  if (done !== undefined) {
    return (
      <Dialog title={`What ${host} keeps`} onClose={onClose}>
        <p role="status" data-testid="adopted">
          {done.adopted.length === 0 ? "Nothing is new." : `Noted: ${done.adopted.map(({ id }) => id).join(", ")}.`}
        </p>
        <ul class="has-list">
          {done.left.map(({ volume, reason }) => (
            <li key={volume?.name ?? reason}>
              <span>{volume?.name}</span>
              <span class="quiet">{sentence(reason)}</span>
            </li>
          ))}
        </ul>
        <div class="actions actions-end">
          <button type="button" class="button button-primary" onClick={onClose}>
            Close
          </button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title="Note what a host keeps" onClose={onClose}>
      <form onSubmit={submit}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <p>After the store was restored, or a disk was moved: what the host keeps for people and is not known here. Nothing changes on the host.</p>
        <Field label="Host">
          <select value={host} data-testid="adopt-host" onChange={(event) => setChosen(event.currentTarget.value)}>
            {names.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </Field>
        <FormButtons busy={busy} action="Note it" testId="adopt-submit" onClose={onClose} />
      </form>
    </Dialog>
  );
}
