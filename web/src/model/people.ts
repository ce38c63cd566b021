import { Role, type User } from "../gen/rolltop/v1/broker_pb";

/**
 * Whether somebody is shown the operators' pages. The server decides each call
 * by itself; this only spares people pages that would be full of refusals.
 */
export function mayOperate(user: Pick<User, "role">): boolean {
  return user.role === Role.OPERATOR;
}
