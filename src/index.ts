/** The library: an embeddable gateway, a client, a node host, and the failures they report. */
export { OpenClawError, type FailureCode, type FailureOptions, isFailure } from "./errors.ts";
export { type Log, type LogFields, type LogLevel, type Runtime, systemRuntime, withLog } from "./runtime.ts";
export { Secret } from "./secret.ts";
export { createGateway, type Gateway } from "./gateway/index.ts";
export type { ConnectionDecision, GatewayLimits, GatewayOptions } from "./gateway/options.ts";
export { createIdentity, type DeviceIdentity, formatIdentity, parseIdentity } from "./identity/device-identity.ts";
export { connectGateway, type ConnectOptions, type Credential, type GatewayAddress } from "./client/connect-gateway.ts";
export type { CallOptions, GatewaySession } from "./client/gateway-session.ts";
export { openSession, type SessionOptions, type TokenMemory } from "./client/open-session.ts";
export { type NodeEvent, type NodeHostOptions, runNode } from "./node/index.ts";
export { createHandlers, InvokeError, type InvokeContext, type InvokeHandler } from "./node/handlers/index.ts";
export { openSqliteStore } from "./store/sqlite-store.ts";
export type { RecordStore, RecordTransaction } from "./store/record-store.ts";
export { Credentials, type CredentialOptions } from "./ssh/credentials.ts";
export { parseForward } from "./ssh/destination.ts";
export { knownHostsFiles } from "./ssh/host-keys.ts";
export { openTunnel, type Tunnel, type TunnelEvent, type TunnelOptions } from "./tunnel/tunnel.ts";
