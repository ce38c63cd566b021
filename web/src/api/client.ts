import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Broker } from "../gen/rolltop/v1/broker_pb";
import { Hosts } from "../gen/rolltop/v1/hosts_pb";
import { Stats } from "../gen/rolltop/v1/stats_pb";

/** The broker's API as this page uses it. */
export type BrokerClient = Client<typeof Broker>;

/** The services for operators beside it. */
export interface OperatorClients {
  readonly hosts: Client<typeof Hosts>;
  readonly stats: Client<typeof Stats>;
}

/**
 * A client for the server this page came from. Who calls is known by the
 * HttpOnly cookie that SignIn sets: the page itself never holds the token.
 */
export function brokerAt(origin: string): BrokerClient {
  return createClient(Broker, createGrpcWebTransport({ baseUrl: origin }));
}

/** As `brokerAt`, for the operators' pages. */
export function operatorClientsAt(origin: string): OperatorClients {
  const transport = createGrpcWebTransport({ baseUrl: origin });
  return { hosts: createClient(Hosts, transport), stats: createClient(Stats, transport) };
}
