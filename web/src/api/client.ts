import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Audit } from "../gen/rolltop/v1/audit_pb";
import { Broker } from "../gen/rolltop/v1/broker_pb";
import { Hosts } from "../gen/rolltop/v1/hosts_pb";
import { People } from "../gen/rolltop/v1/people_pb";
import { Rollouts } from "../gen/rolltop/v1/rollouts_pb";
import { Sessions } from "../gen/rolltop/v1/sessions_pb";
import { SignInWays } from "../gen/rolltop/v1/sign_in_pb";
import { Stats } from "../gen/rolltop/v1/stats_pb";
import { Storage } from "../gen/rolltop/v1/storage_pb";

/** The broker's API as this page uses it. */
export type BrokerClient = Client<typeof Broker>;

/** Accounts: tokens and second factors of everybody, groups and roles for operators. */
export type PeopleClient = Client<typeof People>;

/** What the sign-in page offers, and programs that may sign in. */
export type SignInWaysClient = Client<typeof SignInWays>;

/** The services for operators beside it. */
export interface OperatorClients {
  readonly audit: Client<typeof Audit>;
  readonly hosts: Client<typeof Hosts>;
  readonly people: PeopleClient;
  readonly rollouts: Client<typeof Rollouts>;
  readonly sessions: Client<typeof Sessions>;
  readonly stats: Client<typeof Stats>;
  readonly storage: Client<typeof Storage>;
}

/**
 * A client for the server this page came from. Who calls is known by the
 * HttpOnly cookie that SignIn sets: the page itself never holds the token.
 */
export function brokerAt(origin: string): BrokerClient {
  return createClient(Broker, createGrpcWebTransport({ baseUrl: origin }));
}

/** As `brokerAt`, for one's own account. */
export function peopleAt(origin: string): PeopleClient {
  return createClient(People, createGrpcWebTransport({ baseUrl: origin }));
}

/** As `brokerAt`, for ways to sign in. */
export function signInWaysAt(origin: string): SignInWaysClient {
  return createClient(SignInWays, createGrpcWebTransport({ baseUrl: origin }));
}

/** As `brokerAt`, for the operators' pages. */
export function operatorClientsAt(origin: string): OperatorClients {
  const transport = createGrpcWebTransport({ baseUrl: origin });
  return {
    audit: createClient(Audit, transport),
    hosts: createClient(Hosts, transport),
    people: createClient(People, transport),
    rollouts: createClient(Rollouts, transport),
    sessions: createClient(Sessions, transport),
    stats: createClient(Stats, transport),
    storage: createClient(Storage, transport),
  };
}
