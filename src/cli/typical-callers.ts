/** Who usually calls a gateway: what `gateway explain` explains when nobody is described. */
import { isLoopbackHost } from "../config/address.ts";
import type { CredentialWord, DescribedCaller } from "../gateway/explain.ts";
import type { ForeseenGateway } from "./gateway-setup.ts";

export interface NamedCaller {
  readonly name: string;
  readonly caller: DescribedCaller;
}

/** Callers that meet different rules. */
export function typicalCallers(gateway: ForeseenGateway): readonly NamedCaller[] {
  const { port } = gateway;
  const secret = sharedSecret(gateway);
  const cli = { ...nobody(port), process: { isProven: true }, device: "new", scopes: ["operator.write"] } as const;
  return [
    { name: "the CLI on this machine, with nothing", caller: cli },
    {
      name: "the same through a tunnel",
      caller: { ...cli, host: `127.0.0.1:${port === 65_535 ? 1024 : port + 1}`, process: mayRelay },
    },
    ...throughProxy(gateway),
    {
      name:
        secret === undefined ? "a new node from the LAN, with nothing" : `a new node from the LAN, with the ${secret}`,
      caller: {
        ...nobody(port),
        address: "192.168.1.20",
        host: `gateway:${port}`,
        role: "node",
        clientId: "node-host",
        clientMode: "node",
        device: "new",
        credentials: secret === undefined ? [] : [`right ${secret}`],
      },
    },
    {
      name: `a backend client on loopback, with the ${secret ?? "internal secret"}`,
      caller: {
        ...nobody(port),
        clientId: "gateway-client",
        clientMode: "backend",
        scopes: ["operator.write"],
        credentials: [secret === undefined ? "internal secret" : (`right ${secret}` satisfies CredentialWord)],
      },
    },
  ];
}

const mayRelay = { isProven: false, reason: "peer-may-relay" } as const;

function nobody(port: number): DescribedCaller {
  return {
    address: "127.0.0.1",
    host: `127.0.0.1:${port}`,
    origin: undefined,
    headers: {},
    process: { isProven: false, reason: "peer-unknown" },
    whois: undefined,
    role: "operator",
    scopes: [],
    clientId: "cli",
    clientMode: "cli",
    platform: "linux",
    deviceFamily: undefined,
    device: "none",
    authorization: undefined,
    credentials: [],
  };
}

function sharedSecret({ rules: { auth = {} } }: ForeseenGateway): "token" | "password" | undefined {
  const { mode, token, password } = auth;
  if (token !== undefined && mode !== "password") return "token";
  return password === undefined ? undefined : "password";
}

/** A page in a browser, as the configured proxy would pass it on. */
function throughProxy({ rules, port }: ForeseenGateway): readonly NamedCaller[] {
  const { auth: { trustedProxy = {} } = {}, trustedProxies: [proxy] = [], allowedOrigins = [] } = rules;
  const { userHeader, requiredHeaders = [], allowUsers = [] } = trustedProxy;
  if (proxy === undefined || userHeader === undefined) return [];
  const origin = allowedOrigins.find((one) => one !== "*") ?? "https://gateway.example";
  const [address = proxy] = proxy.split("/");
  const user = allowUsers[0] ?? "user@example.com";
  return [
    {
      name: `the dashboard in the browser of ${user}, through the proxy at ${address}`,
      caller: {
        ...nobody(port),
        address,
        host: URL.parse(origin)?.host ?? "gateway.example",
        origin,
        headers: {
          ...Object.fromEntries(requiredHeaders.map((name) => [name, ["present"]])),
          "x-forwarded-for": ["203.0.113.7"],
          [userHeader]: [user],
        },
        clientId: "openclaw-control-ui",
        clientMode: "webchat",
        platform: "web",
        scopes: ["operator.admin"],
      },
    },
  ];
}

/** Why this caller does not come as far as the rules: nothing listens where it dials. */
export function unreachable({ host }: ForeseenGateway, { address }: DescribedCaller): string | undefined {
  if (!isLoopbackHost(host) || isLoopbackHost(address)) return undefined;
  return `the gateway listens on ${host} only: ${address} reaches it through a tunnel or a proxy on this machine, and is seen as that`;
}
