import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { useListed } from "../../act";
import { roleName, signInBy } from "../../model/people";
import { useSession } from "../../session";
import { ErrorNotice } from "../../ui/notice";
import { RowName } from "../../ui/parts";
import { useAct } from "../data";
import { Grid } from "../ui/grid";
import { UserDialog } from "./user-dialog";
import { NewUser } from "./user-forms";

const EVERY_MS = 15_000;

/** Who can sign in. */
export function UsersPage(): VNode {
  const { broker } = useSession();
  const { listed, message, again } = useListed((signal) => broker.listUsers({}, { signal }), EVERY_MS);
  const { busy } = useAct();
  const [adding, setAdding] = useState(false);
  const [openName, setOpenName] = useState<string>();
  const open = listed?.users.find(({ name }) => name === openName);
  return (
    <>
      {message !== "" && <ErrorNotice>{message}</ErrorNotice>}
      <Grid
        name="users"
        rows={listed?.users}
        rowKey={({ name }) => name}
        empty="There is no user."
        columns={[
          { title: "Name", value: ({ name }) => name, show: ({ name }) => <RowName name={name} onOpen={() => setOpenName(name)} /> },
          { title: "Full name", value: ({ fullName }) => fullName },
          { title: "Role", value: ({ role }) => roleName(role) },
          { title: "Signs in by", value: signInBy },
          { title: "Groups", value: ({ groups }) => groups.join(" ") },
          { title: "User id", value: ({ uid }) => uid },
        ]}
      >
        <button type="button" class="button" disabled={busy} data-testid="user-add" onClick={() => setAdding(true)}>
          Add a user
        </button>
      </Grid>
      {adding && (
        <NewUser
          onClose={() => setAdding(false)}
          onMade={() => {
            setAdding(false);
            again();
          }}
        />
      )}
      {open !== undefined && (
        <UserDialog key={open.name} user={open} onChanged={again} onClose={() => setOpenName(undefined)} />
      )}
    </>
  );
}
