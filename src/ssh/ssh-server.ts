/** A small SSH server in this process, for machines without sshd: loopback only, one key, forwards and nothing else. */
import { connect, createServer } from "node:net";
import type { Server as TcpServer, Socket } from "node:net";
import type { AuthContext, Connection, ServerChannel, Session } from "ssh2";
import { OpenClawError, systemCode } from "../errors.ts";
import { credentialDigest } from "../secret.ts";
import type { Secret } from "../secret.ts";
import { Bridges, reset } from "./bridge.ts";
import { keyFingerprint, knownHostsLine } from "./known-hosts.ts";
import { generateSshKey } from "./ssh-key.ts";
import { hasNativeCrypto, loadSsh2 } from "./ssh2.ts";

export interface SshServerOptions {
  /** One line of `authorized_keys` (without options) whose owner may come in, under any user name. */
  readonly authorizedKey?: string;
  /** Lets in whoever knows it, by the given methods. */
  readonly password?: Secret;
  readonly passwordMethods?: readonly PasswordMethod[];
  /** 0: a free port is chosen. */
  readonly port?: number;
  /** The host's private key in OpenSSH form; a fresh one when absent. */
  readonly hostKey?: Secret;
}

type PasswordMethod = "password" | "keyboard-interactive";

export interface SshServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** What a known_hosts file must hold to trust this server. */
  readonly hostKeyLine: string;
  readonly hostKeyFingerprint: string;
  close(): Promise<void>;
}

type Authorize = (attempt: AuthContext) => void;
type Method = "publickey" | PasswordMethod;

const host = "127.0.0.1";
const loopbackNames = new Set(["127.0.0.1", "::1", "localhost"]);

/** Starts the server; resolves once it accepts connections. Throws `port-in-use`. */
export async function startSshServer(options: SshServerOptions): Promise<SshServer> {
  const { hostKey = generateSshKey().privateKey, port: wantedPort = 0 } = options;
  const { Server, utils } = await loadSsh2();
  const parsed = utils.parseKey(hostKey.reveal());
  if (parsed instanceof Error)
    throw new OpenClawError("usage", "cannot read the host key of the SSH server", { cause: parsed });
  const isAuthorized = await authorizer(options);
  const sockets = new Map<number, Socket>();
  const held = new Map<string, HeldForward>();

  const ssh = new Server({ hostKeys: [hostKey.reveal()] }, (client, info) => {
    const socket = sockets.get(info.port);
    if (socket !== undefined) serve(client, socket, isAuthorized, held);
  });
  // Our own listener, since the library would not turn Nagle's algorithm off.
  const tcp = createServer({ noDelay: true }, (socket) => {
    const { remotePort = 0 } = socket;
    sockets.set(remotePort, socket);
    socket.once("close", () => sockets.delete(remotePort));
    ssh.injectSocket(socket);
  });
  const port = await listen(tcp, { host, port: wantedPort });
  const close = async () => {
    for (const socket of sockets.values()) socket.destroy();
    await new Promise<void>((resolve) => tcp.close(() => resolve()));
  };
  const blob = parsed.getPublicSSH();
  const hostKeyLine = knownHostsLine({ host, port }, blob);
  return { host, port, hostKeyLine, hostKeyFingerprint: keyFingerprint(blob), close, [Symbol.asyncDispose]: close };
}

async function authorizer({ authorizedKey, password, passwordMethods }: SshServerOptions): Promise<Authorize> {
  const { utils } = await loadSsh2();
  const key = authorizedKey === undefined ? undefined : utils.parseKey(authorizedKey);
  if (key instanceof Error)
    throw new OpenClawError("usage", "cannot read the authorized key of the SSH server", { cause: key });
  const byPassword = password === undefined ? [] : (passwordMethods ?? ["password", "keyboard-interactive"]);
  const methods: Method[] = [...(key === undefined ? [] : ["publickey" as const]), ...byPassword];
  const isPassword = (answer: string) => password?.isShownBy(credentialDigest(answer)) === true;

  return (attempt) => {
    const decide = (allowed: boolean) => (allowed ? attempt.accept() : attempt.reject([...methods]));
    if (attempt.method === "none" || !methods.some((method) => method === attempt.method)) return decide(false);
    if (attempt.method === "password") return decide(isPassword(attempt.password));
    if (attempt.method === "keyboard-interactive") {
      return attempt.prompt([{ prompt: "Password: ", echo: false }], (answers) => decide(isPassword(answers[0] ?? "")));
    }
    if (attempt.method !== "publickey" || key === undefined || !key.getPublicSSH().equals(attempt.key.data))
      return decide(false);
    // Without a signature it is only the question whether this key would do (RFC 4252 § 7).
    const { blob, signature, hashAlgo } = attempt;
    if (signature === undefined || blob === undefined) return decide(true);
    // oxlint-disable-next-line typescript/no-unnecessary-boolean-literal-compare -- it may also be an Error, which is truthy
    decide(key.verify(blob, signature, hashAlgo) === true);
  };
}

/** A forward that listens, and the session it listens for. */
interface HeldForward {
  readonly client: Connection;
  /** Whose session it is: the fingerprint of a key, or the word for who knows the password. */
  readonly owner: string;
  readonly listener: TcpServer;
  /** Ends the session. */
  readonly drop: () => void;
}

function serve(client: Connection, socket: Socket, authorize: Authorize, held: Map<string, HeldForward>): void {
  const bridges = new Bridges(socket, () => !hasNativeCrypto());
  const gone = new AbortController();
  let owner = "";
  client.on("authentication", (attempt) => {
    owner = attempt.method === "publickey" ? keyFingerprint(attempt.key.data) : "password";
    authorize(attempt);
  });
  client.on("error", () => {});
  client.once("close", () => {
    bridges.cut();
    gone.abort();
    for (const [address, forward] of held) if (forward.client === client) held.delete(address);
  });
  client.on("session", (accept) => endAtOnce(accept()));
  client.on("tcpip", (accept, reject, { destIP, destPort }) => {
    if (!loopbackNames.has(destIP)) return reject();
    const target = connect({ host: destIP, port: destPort, noDelay: true, allowHalfOpen: true });
    target.once("error", reject);
    target.once("connect", () => {
      target.off("error", reject);
      bridges.join(target, accept());
    });
  });
  client.on("request", (accept, reject, name, bind) => {
    const key = `${bind.bindAddr}:${bind.bindPort}`;
    if (name === "cancel-tcpip-forward") {
      const own = held.get(key);
      if (own?.client !== client) return reject?.();
      own.listener.close();
      held.delete(key);
      return accept?.();
    }
    if (!loopbackNames.has(bind.bindAddr)) return reject?.();
    const stale = held.get(key);
    if (stale !== undefined && stale.client !== client && stale.owner === owner) {
      // Who asks again has lost the old session, though nobody told us: it would hold the port until the network does.
      stale.listener.close();
      stale.drop();
      held.delete(key);
    }
    const listener = passOn(client, bridges, bind.bindAddr);
    listen(listener, { host: bind.bindAddr, port: bind.bindPort, signal: gone.signal }).then(
      (port) => {
        held.set(`${bind.bindAddr}:${port}`, { client, owner, listener, drop: () => socket.destroy() });
        accept?.(port);
      },
      () => reject?.(),
    );
  });
}

/** A terminal is granted, a command is over at once: there is no shell here. */
function endAtOnce(session: Session): void {
  const end = (accept: () => ServerChannel) => {
    const channel = accept();
    channel.exit(0);
    channel.end();
  };
  session.on("pty", (accept) => accept());
  session.on("exec", end);
  session.on("shell", end);
}

/** A listener whose connections are offered to the client. */
function passOn(client: Connection, bridges: Bridges, bind: string): TcpServer {
  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const { localPort = 0, remoteAddress = host, remotePort = 0 } = socket;
    socket.on("error", () => {});
    client.forwardOut(bind, localPort, remoteAddress, remotePort, (error, channel) => {
      if (error !== undefined) reset(socket);
      else bridges.join(socket, channel);
    });
  });
  return listener;
}

/** The port that really listens. Throws `port-in-use`. */
async function listen(
  server: TcpServer,
  options: { host: string; port: number; signal?: AbortSignal },
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject).once("listening", resolve).listen(options);
  try {
    await promise;
  } catch (cause) {
    const code = systemCode(cause);
    const message = `the SSH server cannot listen on ${options.host}:${options.port}: ${code}`;
    throw new OpenClawError(code === "EADDRINUSE" ? "port-in-use" : "failed", message, { cause });
  }
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
