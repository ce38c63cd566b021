import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import type { ActInfo, AuditEntry } from "../../gen/rolltop/v1/audit_pb";
import { Dialog } from "../../ui/dialog";
import { Facts, State } from "../../ui/parts";
import { type AuditQuery, outcomeLook } from "../model/audit";

interface AuditDialogProps {
  entry: AuditEntry;
  acts: readonly ActInfo[];
  onAsk: (change: Partial<AuditQuery>) => void;
  onClose: () => void;
}

/** All that one entry says. */
export function AuditDialog({ entry, acts, onAsk, onClose }: AuditDialogProps): VNode {
  const { id, at, act, user, via, from, object, outcome, reason, details } = entry;
  const [kind = "", ...name] = object.split(":");
  return (
    <Dialog title={act} onClose={onClose}>
      <div class="wide" data-testid="audit-dialog">
        <p class="facts">
          <State look={outcomeLook(outcome)} />
          <span>{acts.find((one) => one.name === act)?.about}</span>
        </p>
        <Facts
          facts={[
            ["When", at && timestampDate(at).toISOString()],
            ["Who", user],
            ["Showed", via],
            ["From", from],
            ["To what", object],
            ["Why", reason],
            ...Object.entries(details).sort(),
            ["Entry", id],
          ]}
        />
        <div class="actions">
          {user !== "" && (
            <button type="button" class="button button-small" onClick={() => onAsk({ user })}>
              All by {user}
            </button>
          )}
          <button type="button" class="button button-small" onClick={() => onAsk({ act })}>
            All of this act
          </button>
          {object !== "" && (
            <button
              type="button"
              class="button button-small"
              data-testid="audit-same-object"
              onClick={() => onAsk({ kind, name: name.join(":") })}
            >
              All about {object}
            </button>
          )}
        </div>
        <div class="actions actions-end">
          <button type="button" class="button button-primary" data-testid="audit-close" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}
