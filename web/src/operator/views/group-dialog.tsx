import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useId, useState } from "preact/hooks";
import { useListed } from "../../act";
import type { Group } from "../../gen/rolltop/v1/people_pb";
import { formatWhen } from "../../model/format";
import { useSession } from "../../session";
import { Confirm, Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Facts, Field } from "../../ui/parts";
import { useAct, useCluster } from "../data";
import { namesOf } from "../model/groups";
import { Grid } from "../ui/grid";

const EVERY_MS = 15_000;

interface GroupDialogProps {
  group: Group;
  /** Those that are open to it. */
  pools: readonly string[];
  onChanged: () => void;
  onClose: () => void;
}

/** One group: who is in it, and what they may open. */
export function GroupDialog({ group: { name, description, createdAt }, pools, onChanged, onClose }: GroupDialogProps): VNode {
  const { broker } = useSession();
  const { clients } = useCluster();
  const { busy, message, act } = useAct();
  const { listed, message: unlisted, again } = useListed(
    async (signal) => (await clients.people.listGroupMembers({ name }, { signal })).members,
    EVERY_MS,
  );
  const { listed: users } = useListed(async (signal) => (await broker.listUsers({}, { signal })).users, 60_000);
  const [text, setText] = useState("");
  const [deleting, setDeleting] = useState(false);
  const known = useId();

  const changed = (): void => {
    again();
    onChanged();
  };
  const add = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const left = namesOf(text);
    const worked = await act(async () => {
      for (let user = left[0]; user !== undefined; user = left[0]) {
        await clients.people.addGroupMember({ name, user });
        left.shift();
      }
    });
    // Those that are in are not to be typed again.
    setText(worked ? "" : left.join(" "));
    changed();
  };
  const remove = async (user: string): Promise<void> => {
    await act(() => clients.people.removeGroupMember({ name, user }));
    changed();
  };
  const deleted = async (): Promise<void> => {
    setDeleting(false);
    if (!(await act(() => clients.people.deleteGroup({ name })))) return;
    onChanged();
    onClose();
  };
  if (deleting) {
    return (
      <Confirm
        title={`Delete the group ${name}?`}
        text="Its members stay. While a pool is open to it, it is not deleted."
        action="Delete"
        onConfirm={() => void deleted()}
        onClose={() => setDeleting(false)}
      />
    );
  }
  return (
    <Dialog title={name} onClose={onClose}>
      <div class="wide" data-testid="group-dialog">
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        {unlisted !== "" && <ErrorNotice>{unlisted}</ErrorNotice>}
        <Facts
          facts={[
            ["Description", description],
            ["Pools open to it", pools.length === 0 ? "none yet: a pool's form names its groups" : pools.join(", ")],
            ["Since", formatWhen(createdAt)],
          ]}
        />
        <form class="field-row" onSubmit={(event) => void add(event)}>
          <Field label="Add members" hint="User names, by spaces or commas.">
            <input
              required
              value={text}
              list={known}
              autocapitalize="none"
              autocomplete="off"
              data-testid="member-name"
              onInput={(event) => setText(event.currentTarget.value)}
            />
          </Field>
          <datalist id={known}>
            {users?.slice(0, 500).map((user) => (
              <option key={user.name} value={user.name}>
                {user.fullName}
              </option>
            ))}
          </datalist>
          <div class="actions">
            <button class="button" disabled={busy} data-testid="member-add">
              Add
            </button>
          </div>
        </form>
        <Grid
          name="members"
          rows={listed}
          rowKey={({ user }) => user}
          empty="Nobody is in it."
          columns={[
            { title: "User", value: ({ user }) => user },
            {
              title: "Since",
              value: ({ since }) => (since === undefined ? 0 : timestampMs(since)),
              show: ({ since }) => formatWhen(since),
            },
            { title: "By word of", value: ({ source }) => SOURCES[source] ?? source },
            {
              title: "Acts",
              value: () => "",
              show: ({ user, source }) =>
                source === "local" && (
                  <button
                    type="button"
                    class="button button-small"
                    disabled={busy}
                    aria-label={`Remove ${user}`}
                    data-testid={`member-${user}-remove`}
                    onClick={() => void remove(user)}
                  >
                    Remove
                  </button>
                ),
            },
          ]}
        />
        <div class="actions actions-end">
          <button type="button" class="button" disabled={busy} data-testid="group-delete" onClick={() => setDeleting(true)}>
            Delete
          </button>
          <button type="button" class="button button-primary" data-testid="group-close" onClick={onClose}>
            Close
          </button>
        </div>
      </div>
    </Dialog>
  );
}

const SOURCES: Readonly<Record<string, string>> = { local: "operators here", ldap: "the directory", oidc: "OpenID Connect" };
