import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Snapshot } from "../../gen/rolltop/v1/storage_pb";
import { formatBytes, formatWhen } from "../../model/format";
import { Field } from "../../ui/parts";

interface DataSnapshotsProps {
  snapshots: readonly Snapshot[] | undefined;
  busy: boolean;
  /** A desktop uses it: it cannot be rolled back. */
  inUse: boolean;
  onMake: (name: string, description: string) => void;
  onRollBack: (snapshot: Snapshot) => void;
  onDelete: (snapshot: Snapshot) => void;
}

/** What it was at earlier times. */
export function DataSnapshots({ snapshots, busy, inUse, onMake, onRollBack, onDelete }: DataSnapshotsProps): VNode {
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const make = (event: SubmitEvent): void => {
    event.preventDefault();
    onMake(name.trim(), description.trim());
    setName("");
    setDescription("");
  };
  return (
    <>
      <h3>Snapshots</h3>
      {snapshots?.length === 0 && <p class="hint">There is none.</p>}
      <ul class="has-list" data-testid="snapshots" aria-busy={snapshots === undefined}>
        {snapshots?.map((snapshot) => (
          <li key={snapshot.name} data-testid={`snapshot-${snapshot.name}`}>
            <span>
              <strong>{snapshot.name}</strong>{" "}
              <span class="quiet">
                {[
                  formatWhen(snapshot.createdAt),
                  formatBytes(snapshot.allocatedBytes),
                  snapshot.automatic && "kept by rolling back",
                  snapshot.description,
                ]
                  .filter((part) => part !== false && part !== "")
                  .join(" · ")}
              </span>
            </span>
            <span class="actions">
              <button
                type="button"
                class="button button-small"
                disabled={busy || inUse}
                title={inUse ? "Not while a desktop uses it." : ""}
                aria-label={`Roll back to ${snapshot.name}`}
                data-testid={`snapshot-${snapshot.name}-roll-back`}
                onClick={() => onRollBack(snapshot)}
              >
                Roll back
              </button>
              <button
                type="button"
                class="button button-small"
                disabled={busy}
                aria-label={`Delete ${snapshot.name}`}
                onClick={() => onDelete(snapshot)}
              >
                Delete
              </button>
            </span>
          </li>
        ))}
      </ul>
      <form class="field-row" onSubmit={make}>
        <Field label="New snapshot" hint="Empty: named by the time.">
          <input
            value={name}
            maxLength={128}
            autocapitalize="none"
            autocomplete="off"
            data-testid="snapshot-name"
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </Field>
        <Field label="What for">
          <input value={description} maxLength={1024} autocomplete="off" onInput={(event) => setDescription(event.currentTarget.value)} />
        </Field>
        <div class="actions">
          <button class="button" disabled={busy} data-testid="snapshot-make">
            Make
          </button>
        </div>
      </form>
    </>
  );
}
