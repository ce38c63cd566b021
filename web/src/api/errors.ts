import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb";
import { type Failure, FailureSchema } from "../gen/rolltop/v1/common_pb";
import { formatSeconds, sentence } from "../model/format";

/** What went wrong with a call, as the page can use it. */
export interface Problem {
  readonly kind: "unreachable" | "signed-out" | "missing" | "conflict" | "cancelled" | "refused";
  /** For a person. */
  readonly message: string;
  /** The server's stable word for it, or empty. */
  readonly reason: string;
  /** Seconds until it makes sense to ask again; 0: not said. */
  readonly retryAfterS: number;
  /** Why a desktop did not come up, when that is what went wrong. */
  readonly failure?: Failure;
}

const UNREACHABLE =
  "The server cannot be reached. Check your network connection; if it is fine, the server may be restarting.";

const WRONG_CODE = "The code is not right, or was used already. Please wait for the next one.";

/** Reads any error a call can throw. */
export function problemOf(error: unknown): Problem {
  const known = ConnectError.from(error);
  const reason = known.findDetails(ErrorInfoSchema)[0]?.reason ?? "";
  const failure = known.findDetails(FailureSchema)[0];
  const base = { reason, retryAfterS: retryAfter(known), ...(failure && { failure }) };
  if (isNetworkFault(known)) return { ...base, kind: "unreachable", message: UNREACHABLE };
  switch (known.code) {
    case Code.Canceled:
      return { ...base, kind: "cancelled", message: "Cancelled." };
    case Code.Unauthenticated:
      return { ...base, kind: "signed-out", message: say(known, "Please sign in.") };
    case Code.NotFound:
      return { ...base, kind: "missing", message: say(known, "It does not exist (any more).") };
    case Code.FailedPrecondition:
      return { ...base, kind: "conflict", message: say(known, "That is not possible now.") };
    default:
      return { ...base, kind: "refused", message: say(known, "The server could not do that.") };
  }
}

/** The password is right, and signing in takes a code too. */
export function wantsCode(problem: Problem): boolean {
  return problem.reason === "SECOND_FACTOR_REQUIRED";
}

/** The password is right, and the code is not. */
export function isWrongCode(problem: Problem): boolean {
  return problem.reason === "WRONG_CODE";
}

/** What to say of an act that did not work; nothing if the session is lost. */
export function actMessage(problem: Problem): string {
  // A wrong password or code in a form is no lost session.
  if (problem.reason === "WRONG_CREDENTIALS") return "Your own password is not right.";
  if (isWrongCode(problem)) return WRONG_CODE;
  if (problem.retryAfterS > 0) return `${problem.message} Try again in ${formatSeconds(problem.retryAfterS)}.`;
  return problem.kind === "signed-out" ? "" : problem.message;
}

/** What to say when signing in did not work. */
export function signInMessage(problem: Problem): string {
  if (problem.kind === "unreachable") return problem.message;
  if (problem.retryAfterS > 0) {
    return `Too many wrong tries. Try again in ${formatSeconds(problem.retryAfterS)}.`;
  }
  if (isWrongCode(problem)) return WRONG_CODE;
  if (problem.kind === "signed-out") return "Name or password is not right. Please try again.";
  return problem.message;
}

/**
 * The network's fault, or that of something between us and the broker. The
 * broker too says "unavailable", of a host, but never without a reason.
 */
function isNetworkFault(error: ConnectError): boolean {
  if (error.cause instanceof TypeError) return true;
  return error.code === Code.Unavailable && error.details.length === 0;
}

/** The broker's message, with each field it complains of. */
function say(error: ConnectError, fallback: string): string {
  const said = sentence(error.rawMessage);
  const faults = error
    .findDetails(BadRequestSchema)
    .flatMap((request) => request.fieldViolations)
    .map(({ field, description }) => sentence(field === "" ? description : `${field.replaceAll("_", " ")}: ${description}`))
    .filter((fault) => fault !== "" && !said.includes(fault.slice(0, -1)));
  return [said, ...faults].filter((part) => part !== "").join(" ") || fallback;
}

/** From RetryInfo, or from a `retry_after_seconds` beside the reason. */
function retryAfter(error: ConnectError): number {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  if (delay !== undefined) return Number(delay.seconds) + delay.nanos / 1e9;
  const noted = Number(error.findDetails(ErrorInfoSchema)[0]?.metadata["retry_after_seconds"] ?? 0);
  return Number.isFinite(noted) && noted > 0 ? noted : 0;
}
