/** Which gateway a command talks to, and with what. One place decides for every command; `auth explain` prints what it found. */
import { OpenClawError } from "../errors.ts";
import { isLoopbackHost } from "./address.ts";
import { chooseUrl, recognise } from "./choose-url.ts";
import { assertSendable, type CredentialSource, type GatewayChoice, rankCredentials } from "./credentials.ts";
import { gatherCredentials } from "./gather-credentials.ts";
import { formatGatewayUrl, formatOrigin, type GatewayUrl } from "./gateway-url.ts";
import { environmentHeaders, type Header, mergeHeaders, parseHeader, parseHeaderLines } from "./headers.ts";
import { readSecretFile } from "./secret-file.ts";
import type { TargetChoices } from "./target-choices.ts";
import { parseFingerprint } from "./tls-fingerprint.ts";

export interface Target {
  /** `ws(s)://host:port/path`, the port always written. */
  readonly url: string;
  /** The same without the path: what stored device tokens are filed under. */
  readonly origin: string;
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  readonly path: string;
  /** Whether it is one of the gateways that the configuration knows. */
  readonly gateway: GatewayChoice;
  /** The flag, variable or setting that named it. */
  readonly chosenBy: string;
  readonly headers: readonly Header[];
  /** SHA-256 of the only certificate to accept, lower-case hex, or of its public key, `sha256/<base64>`. */
  readonly tlsFingerprint?: string;
  /** The flag or setting that says so. */
  readonly pinnedBy?: "--tls-fingerprint" | "gateway.remote.tlsFingerprint";
  /** Whether a certificate that nobody vouches for is taken when it is seen first, and held to from then on. */
  readonly tlsAcceptNew: boolean;
  /** False: no `Authorization` on the upgrade, since somebody on the way uses it. */
  readonly sendAuthHeader: boolean;
  readonly insecureWs: boolean;
  /** Every credential found, the strongest first, whether it is used or not. */
  readonly credentials: readonly CredentialSource[];
}

/** Gathers and decides. What is contradictory, malformed or unreadable is `usage`. */
export async function resolveTarget(choices: TargetChoices): Promise<Target> {
  const { flags, config } = choices;
  const { url, chosenBy } = chooseUrl(choices);
  const gateway = recognise(url, choices);
  const origin = formatOrigin(url);
  const credentials = rankCredentials(await gatherCredentials(choices, { origin, gateway }), {
    gateway,
    localAuthMode: config.settings["gateway.auth.mode"],
  });
  for (const source of credentials) if (source.used) assertSendable(source);
  return {
    url: formatGatewayUrl(url),
    origin,
    ...url,
    gateway,
    chosenBy,
    headers: await chooseHeaders(choices, gateway),
    ...chooseFingerprint(choices, url, gateway),
    tlsAcceptNew: flags.tlsAcceptNew === true,
    sendAuthHeader: flags.noAuthHeader !== true,
    insecureWs: flags.insecureWs === true,
    credentials,
  };
}

/** `insecure-transport` when a credential or a header would cross a network unencrypted and nobody allowed it. */
export function assertSafeTransport(
  target: Pick<Target, "tls" | "host" | "url" | "insecureWs" | "headers" | "credentials">,
): void {
  if (target.tls || target.insecureWs || isLoopbackHost(target.host)) return;
  const credential = target.credentials.find(({ used }) => used);
  const [header] = target.headers;
  if (credential === undefined && header === undefined) return;
  const what =
    credential === undefined ? `the header ${header?.[0]}` : `the ${credential.kind} from ${credential.name}`;
  throw new OpenClawError("insecure-transport", `${what} would cross the network unencrypted to ${target.url}`, {
    hint: "use wss:// (--tls), or a tunnel (openclaw tunnel open); --insecure-ws sends it all the same",
    details: { url: target.url },
  });
}

async function chooseHeaders(
  { flags, env, config, stdin }: TargetChoices,
  gateway: GatewayChoice,
): Promise<readonly Header[]> {
  const configured = config.settings["gateway.mode"] === "remote" ? "remote" : "local";
  const { headerFile } = flags;
  const source = headerFile === "-" ? "standard input" : (headerFile ?? "");
  const text = headerFile === undefined ? undefined : await readSecretFile(headerFile, stdin, "--header-file");
  return mergeHeaders(
    (flags.header ?? []).map((line) => parseHeader(line, "--header")),
    text === undefined ? [] : parseHeaderLines(text.reveal(), source),
    environmentHeaders(env),
    gateway === configured ? (config.settings.headers ?? []) : [],
  );
}

function chooseFingerprint(
  { flags, config }: TargetChoices,
  url: GatewayUrl,
  gateway: GatewayChoice,
): Pick<Target, "tlsFingerprint" | "pinnedBy"> {
  const pinned = gateway === "remote" ? config.settings["gateway.remote.tlsFingerprint"] : undefined;
  const name = flags.tlsFingerprint === undefined ? "gateway.remote.tlsFingerprint" : "--tls-fingerprint";
  const text = flags.tlsFingerprint ?? pinned;
  // A pin that cannot be checked must not be taken for one that was.
  if (!url.tls && text !== undefined) throw needsTls(name);
  if (!url.tls && flags.tlsAcceptNew === true) throw needsTls("--tls-accept-new");
  return text === undefined ? {} : { tlsFingerprint: parseFingerprint(text, name), pinnedBy: name };
}

function needsTls(name: string): OpenClawError {
  return new OpenClawError("usage", `${name} needs a gateway with TLS`, { hint: "write wss://, or add --tls" });
}
