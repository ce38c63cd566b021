import { Role, type User } from "../gen/rolltop/v1/broker_pb";

type WithRole = Pick<User, "role">;

/**
 * Whether somebody is shown the operators' pages: who runs the cluster, and who
 * may look at everything. The server decides each call by itself; this only
 * spares people pages that would be full of refusals.
 */
export function mayLook(user: WithRole): boolean {
  return mayOperate(user) || user.role === Role.AUDITOR;
}

/** Whether somebody may change anything on those pages. */
export function mayOperate(user: WithRole): boolean {
  return user.role === Role.OPERATOR || mayGiveRoles(user);
}

/** Whether somebody says who may what. */
export function mayGiveRoles(user: WithRole): boolean {
  return user.role === Role.ADMIN;
}

/** A role's name, as the command line calls it. */
export function roleName(role: Role): string {
  switch (role) {
    case Role.USER:
      return "user";
    case Role.OPERATOR:
      return "operator";
    case Role.ADMIN:
      return "admin";
    case Role.AUDITOR:
      return "auditor";
    case Role.UNSPECIFIED:
      return "";
    default:
      return "other";
  }
}

/** The names of roles, as a form offers them. */
export const ROLES: readonly Role[] = [Role.USER, Role.AUDITOR, Role.OPERATOR, Role.ADMIN];

/**
 * Whether somebody may change another's account: accounts of users are the
 * operators' care, and those of who have a role the admins'.
 */
export function mayManage(user: WithRole, other: WithRole): boolean {
  return mayGiveRoles(user) || (mayOperate(user) && other.role === Role.USER);
}

/** Whether the password of an account is kept here, and can be set here. */
export function isLocal({ source }: Pick<User, "source">): boolean {
  return source === "local" || source === "";
}

/** Who says whether somebody's password is right, and whether a code is asked for too. */
export function signInBy({ source, secondFactor }: Pick<User, "source" | "secondFactor">): string {
  const by: Readonly<Record<string, string>> = { "": "local", ldap: "directory (LDAP)", oidc: "OpenID Connect" };
  return `${by[source] ?? source}${secondFactor ? ", with a code" : ""}`;
}
