import { type Client, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Broker } from "../gen/rolltop/v1/broker_pb";

/** The broker's API as this page uses it. */
export type BrokerClient = Client<typeof Broker>;

/**
 * A client for the server this page came from. Who calls is known by the
 * HttpOnly cookie that SignIn sets: the page itself never holds the token.
 */
export function brokerAt(origin: string): BrokerClient {
  return createClient(Broker, createGrpcWebTransport({ baseUrl: origin }));
}
