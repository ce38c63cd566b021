import { timestampMs } from "@bufbuild/protobuf/wkt";
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { useListed } from "../../act";
import { formatWhen } from "../../model/format";
import { useSession } from "../../session";
import { Dialog } from "../../ui/dialog";
import { ErrorNotice } from "../../ui/notice";
import { Field, FormButtons, RowName } from "../../ui/parts";
import { useAct, useCluster } from "../data";
import { openToGroups } from "../model/groups";
import { Grid } from "../ui/grid";
import { GroupDialog } from "./group-dialog";

const EVERY_MS = 15_000;

/** Groups of users, for pools to be open to. */
export function GroupsPage(): VNode {
  const { broker } = useSession();
  const { clients } = useCluster();
  const { busy } = useAct();
  const { listed, message, again } = useListed(async (signal) => {
    const [{ groups }, { pools }] = await Promise.all([
      clients.people.listGroups({}, { signal }),
      broker.listPools({ all: true }, { signal }),
    ]);
    return { groups, poolsOf: openToGroups(pools) };
  }, EVERY_MS);
  const [adding, setAdding] = useState(false);
  const [openName, setOpenName] = useState<string>();
  const open = listed?.groups.find(({ name }) => name === openName);
  const poolsOf = (name: string): readonly string[] => listed?.poolsOf.get(name) ?? [];
  return (
    <>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      <Grid
        name="groups"
        rows={listed?.groups}
        rowKey={({ name }) => name}
        empty="There is no group. Pools can be open to the members of groups, not only to users by name."
        columns={[
          { title: "Group", value: ({ name }) => name, show: ({ name }) => <RowName name={name} onOpen={() => setOpenName(name)} /> },
          { title: "Description", value: ({ description }) => description },
          { title: "Members", value: ({ members }) => Number(members) },
          { title: "Pools open to it", value: ({ name }) => poolsOf(name).join(" ") },
          {
            title: "Since",
            value: ({ createdAt }) => (createdAt === undefined ? 0 : timestampMs(createdAt)),
            show: ({ createdAt }) => formatWhen(createdAt),
          },
        ]}
      >
        <button type="button" class="button" disabled={busy} data-testid="group-add" onClick={() => setAdding(true)}>
          Make a group
        </button>
      </Grid>
      {adding && (
        <NewGroup
          onClose={() => setAdding(false)}
          onMade={(name) => {
            setAdding(false);
            setOpenName(name);
            again();
          }}
        />
      )}
      {open !== undefined && (
        <GroupDialog
          key={open.name}
          group={open}
          pools={poolsOf(open.name)}
          onChanged={again}
          onClose={() => setOpenName(undefined)}
        />
      )}
    </>
  );
}

function NewGroup({ onClose, onMade }: { onClose: () => void; onMade: (name: string) => void }): VNode {
  const { clients } = useCluster();
  const { busy, message, act } = useAct();
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const group = { name: name.trim(), description: description.trim() };
    if (await act(() => clients.people.createGroup(group))) onMade(group.name);
  };
  return (
    <Dialog title="Make a group" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
        <Field label="Name" hint="Lower-case letters, digits, “.”, “_” and “-”.">
          <input
            required
            value={name}
            autocapitalize="none"
            autocomplete="off"
            data-testid="group-name"
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </Field>
        <Field label="Description">
          <input value={description} autocomplete="off" onInput={(event) => setDescription(event.currentTarget.value)} />
        </Field>
        <FormButtons busy={busy} action="Make" testId="group-save" onClose={onClose} />
      </form>
    </Dialog>
  );
}
