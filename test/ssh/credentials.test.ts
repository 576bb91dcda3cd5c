/** Proving oneself to an SSH server: agent, key files of every form, password; and what is said when all are refused. */
import { chmod, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Secret } from "../../src/secret.ts";
import { connectSsh } from "../../src/ssh/connect.ts";
import { Authentication } from "../../src/ssh/authentication.ts";
import { Credentials } from "../../src/ssh/credentials.ts";
import type { CredentialOptions } from "../../src/ssh/credentials.ts";
import { loadSsh2 } from "../../src/ssh/ssh2.ts";
import { readableKeyText } from "../../src/ssh/ssh-key.ts";
import { runTool, startSshAgent, startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { optionsFor, temporaryDirectory } from "../tunnel/world.ts";
import type { Overrides } from "../tunnel/world.ts";

let sshd: Sshd;
let stranger: string;
beforeAll(async () => {
  sshd = await startSshd();
  stranger = await makeKey("stranger");
});
afterAll(async () => sshd[Symbol.asyncDispose]());

async function makeKey(name: string, ...options: string[]): Promise<string> {
  const path = join(sshd.directory, name);
  await runTool("ssh-keygen", "-q", "-C", name, "-f", path, ...(options.includes("-N") ? [] : ["-N", ""]), ...options);
  return path;
}

async function authorize(path: string): Promise<void> {
  await authorizeText(await readFile(`${path}.pub`, "utf8"));
}

async function authorizeText(publicKey: string): Promise<void> {
  const file = join(sshd.directory, "authorized_keys");
  await writeFile(file, (await readFile(file, "utf8")) + publicKey);
}

async function fingerprintOf(path: string): Promise<string> {
  return (await runTool("ssh-keygen", "-l", "-E", "sha256", "-f", `${path}.pub`)).split(" ")[1] ?? "";
}

/** Resolves with "in" when the door opens. */
async function login(credentials: Partial<CredentialOptions>, overrides: Overrides = {}): Promise<"in"> {
  await using _connection = await connectSsh(optionsFor(sshd, { ...overrides, credentials }));
  return "in";
}

describe("a key file", () => {
  test.each<[form: string, options: string[]]>([
    ["Ed25519 in OpenSSH form", ["-t", "ed25519"]],
    ["Ed25519 in PKCS#8 form", ["-t", "ed25519", "-m", "PKCS8"]],
    ["ECDSA P-256 in OpenSSH form", ["-t", "ecdsa", "-b", "256"]],
    ["ECDSA P-384 in PEM form", ["-t", "ecdsa", "-b", "384", "-m", "PEM"]],
    ["ECDSA P-521 in PKCS#8 form", ["-t", "ecdsa", "-b", "521", "-m", "PKCS8"]],
    ["RSA in OpenSSH form", ["-t", "rsa", "-b", "2048"]],
    ["RSA in PEM form", ["-t", "rsa", "-b", "2048", "-m", "PEM"]],
    ["RSA in PKCS#8 form", ["-t", "rsa", "-b", "2048", "-m", "PKCS8"]],
  ])("of %s opens the door, plain and encrypted", async (form, options) => {
    const name = form.replaceAll(/\W/g, "-");
    const plain = await makeKey(name, ...options);
    await authorize(plain);
    await expect(login({ identityFiles: [plain] })).resolves.toBe("in");

    const encrypted = await makeKey(`${name}-encrypted`, ...options, "-N", "open sesame");
    await authorize(encrypted);
    const unlocked = login({ identityFiles: [encrypted], passphrase: new Secret("open sesame") });
    await expect(unlocked).resolves.toBe("in");
  });

  test.each<[form: string, make: (path: string) => Promise<unknown>]>([
    ["RSA in PKCS#1, AES-256", (path) => openssl("genrsa", "-traditional", "-aes256", "-out", path, "2048")],
    ["RSA in PKCS#1, triple DES", (path) => openssl("genrsa", "-traditional", "-des3", "-out", path, "2048")],
    ["RSA in PKCS#8, AES-256", (path) => openssl("genrsa", "-aes256", "-out", path, "2048")],
    ["Ed25519 in PKCS#8, AES-256", (path) => openssl("genpkey", "-algorithm", "ed25519", "-aes256", "-out", path)],
    [
      "ECDSA in SEC1 behind its parameters, AES-128",
      async (path) => {
        await openssl("ecparam", "-name", "prime256v1", "-genkey", "-out", `${path}.plain`);
        await openssl("ec", "-in", `${path}.plain`, "-aes128", "-param_enc", "named_curve", "-out", `${path}.locked`);
        const [parameters = ""] =
          /-----BEGIN EC PARAMETERS[^]*?END EC PARAMETERS-----\n/.exec(await readFile(`${path}.plain`, "utf8")) ?? [];
        await writeFile(path, parameters + (await readFile(`${path}.locked`, "utf8")), { mode: 0o600 });
      },
    ],
    [
      "ECDSA in PKCS#8, scrypt",
      async (path) => {
        await openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", `${path}.plain`);
        await openssl("pkcs8", "-topk8", "-scrypt", "-in", `${path}.plain`, "-out", path);
      },
    ],
  ])("made by openssl, %s, opens the door", async (form, make) => {
    const path = join(sshd.directory, form.replaceAll(/\W+/g, "-"));
    await make(path);
    await chmod(path, 0o600);
    const publicKey = await runTool("ssh-keygen", "-y", "-P", "open sesame", "-f", path).catch(() => publicKeyOf(path));
    await authorizeText(publicKey);
    await expect(login({ identityFiles: [path], passphrase: new Secret("open sesame") })).resolves.toBe("in");
  });

  test("of the configuration may be missing, and then the next one is tried", async () => {
    const configuredFiles = ["/nonexistent/id", sshd.identityFile];
    await expect(loginWithoutNames(sshd.directory, { configuredFiles })).resolves.toBe("in");
    await expect(
      loginWithoutNames(sshd.directory, { configuredFiles: ["/nonexistent/id", stranger] }),
    ).rejects.toMatchObject({
      code: "ssh-auth",
      details: { tried: [{ name: "/nonexistent/id", problem: "is not there" }, { name: stranger }] },
    });
  });

  test("with a certificate beside it says that certificates are not supported, once the key is refused", async () => {
    const path = await makeKey("certified", "-t", "ed25519");
    const authority = await makeKey("authority", "-t", "ed25519");
    await runTool("ssh-keygen", "-q", "-s", authority, "-I", "me", "-n", "me", `${path}.pub`);
    await expect(login({ identityFiles: [path] })).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining(`${path}-cert.pub is a certificate, and certificates are not supported`),
    });
  });

  test("for a security key is told apart from a broken one", async () => {
    const path = join(sshd.directory, "security-key");
    await writeFile(path, securityKeyText(), { mode: 0o600 });
    await expect(login({ identityFiles: [path] })).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining(`${path} is a security key (FIDO), which is not supported`),
    });
  });

  test("whose cipher is unknown here says so, and not that the passphrase was wrong", async () => {
    const cipher = "chacha20-poly1305@openssh.com";
    const path = await makeKey("chacha", "-t", "ed25519", "-Z", cipher, "-N", "open sesame");
    await expect(login({ identityFiles: [path], passphrase: new Secret("open sesame") })).rejects.toMatchObject({
      message: expect.stringContaining(`is encrypted with ${cipher}, which this tool cannot open; ssh-keygen -p`),
    });
  });

  test("that was replaced is used from the next connection on", async () => {
    const path = join(sshd.directory, "rotated");
    await copyFile(stranger, path);
    const options = optionsFor(sshd, { credentials: { identityFiles: [path] } });
    await expect(connectSsh(options)).rejects.toMatchObject({ code: "ssh-auth" });
    await copyFile(sshd.identityFile, path);
    await (await connectSsh(options)).close();
  });

  test("that is encrypted asks for its passphrase until one fits, and only once for all connections", async () => {
    const path = await makeKey("asked", "-t", "ed25519", "-N", "third time lucky");
    await authorize(path);
    const answers = ["wrong", "wrong again", "third time lucky"];
    const askPassphrase = vi.fn(async () => new Secret(answers.shift() ?? "none left"));
    const options = optionsFor(sshd, { credentials: { identityFiles: [path], askPassphrase } });
    for (let time = 0; time < 2; time++) await (await connectSsh(options)).close();
    expect(askPassphrase.mock.calls).toEqual([[path], [path], [path]]);
  });

  test.each<[string, Partial<CredentialOptions>, string]>([
    ["with a wrong passphrase", { passphrase: new Secret("hunter2") }, "does not open with this passphrase"],
    ["nobody wants to unlock", { askPassphrase: async () => undefined }, "is encrypted, and no passphrase was given"],
  ])("%s is passed over, and the failure says so", async (_name, options, problem) => {
    const path = await makeKey(`locked-${problem.length}`, "-t", "ed25519", "-N", "secret word");
    const attempt = login({ identityFiles: [path], ...options });
    await expect(attempt).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining(`key ${path} ${problem}`),
    });
  });

  test("that nobody can unlock is bad usage, before anything is dialled", async () => {
    const path = await makeKey("locked", "-t", "ed25519", "-N", "secret word");
    await expect(login({ identityFiles: [path] }, { port: 1 })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining(path),
      hint: expect.stringContaining("--passphrase-file"),
    });
  });

  test("in its usual place that nobody can unlock is passed over, and the failure says so", async () => {
    await using home = await temporaryDirectory();
    const path = join(home.path, ".ssh", "id_ed25519");
    await mkdir(join(home.path, ".ssh"));
    await copyFile(await makeKey("locked-at-home", "-t", "ed25519", "-N", "secret word"), path);
    await expect(loginWithoutNames(home.path)).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining(`key ${path} is encrypted, and there is no passphrase (--passphrase-file)`),
    });
  });

  test("that others can read is refused, with the command that mends it", async () => {
    const path = join(sshd.directory, "loose");
    await copyFile(sshd.identityFile, path);
    await chmod(path, 0o640);
    await expect(login({ identityFiles: [path] })).rejects.toMatchObject({
      code: "ssh-auth",
      fix: `chmod 600 ${path}`,
    });
  });

  test("that does not exist is bad usage, before anything is dialled", async () => {
    const attempt = login({ identityFiles: ["/nonexistent/key"] }, { port: 1 });
    await expect(attempt).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining("/nonexistent/key"),
    });
  });

  test("in its usual place is found when none is named", async () => {
    await using home = await temporaryDirectory();
    await mkdir(join(home.path, ".ssh"));
    await copyFile(stranger, join(home.path, ".ssh", "id_ed25519"));
    await copyFile(sshd.identityFile, join(home.path, ".ssh", "id_rsa"));
    await expect(loginWithoutNames(home.path)).resolves.toBe("in");
  });

  test("in its usual place that others can read is passed over, and the failure says what to type", async () => {
    await using home = await temporaryDirectory();
    const path = join(home.path, ".ssh", "id_ed25519");
    await mkdir(join(home.path, ".ssh"));
    await copyFile(sshd.identityFile, path);
    await chmod(path, 0o644);
    await expect(loginWithoutNames(home.path)).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining(`chmod 600 ${path}`),
    });
  });
});

/** What it writes is locked with "open sesame", where it can be. */
async function openssl(command: string, ...args: string[]): Promise<string> {
  const flags: Record<string, string[]> = { ecparam: [], genpkey: ["-pass", "pass:open sesame"] };
  return runTool("openssl", command, ...(flags[command] ?? ["-passout", "pass:open sesame"]), ...args);
}

/** For forms that ssh-keygen does not read. */
async function publicKeyOf(path: string): Promise<string> {
  const { utils } = await loadSsh2();
  const key = utils.parseKey(readableKeyText(await readFile(path, "utf8"), new Secret("open sesame")));
  if (key instanceof Error) throw key;
  return `${key.type} ${key.getPublicSSH().toString("base64")}\n`;
}

/** The file of a key that lives in a device (PROTOCOL.u2f), as far as its public half goes. */
function securityKeyText(): string {
  const field = (value: string | Buffer) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(Buffer.from(value).length);
    return Buffer.concat([length, Buffer.from(value)]);
  };
  const blob = Buffer.concat([field("sk-ssh-ed25519@openssh.com"), field(Buffer.alloc(32)), field("ssh:")]);
  const one = Buffer.from([0, 0, 0, 1]);
  const parts = [Buffer.from("openssh-key-v1\0"), field("none"), field("none"), field(""), one, field(blob), field("")];
  return `-----BEGIN OPENSSH PRIVATE KEY-----\n${Buffer.concat(parts).toString("base64")}\n-----END OPENSSH PRIVATE KEY-----\n`;
}

/** Only what is in the home directory. */
async function loginWithoutNames(home: string, more: Partial<CredentialOptions> = {}): Promise<"in"> {
  await using _connection = await connectSsh({ ...optionsFor(sshd), credentials: new Credentials({ home, ...more }) });
  return "in";
}

describe("an agent", () => {
  test("opens the door with a key it holds", async () => {
    await using directory = await temporaryDirectory();
    await using agent = await startSshAgent(directory.path);
    await agent.add(stranger);
    await agent.add(sshd.identityFile);
    await expect(loginWithoutNames(directory.path, { agentSocket: agent.socketPath })).resolves.toBe("in");
  });

  test("signs with ECDSA and RSA keys too", async () => {
    await using directory = await temporaryDirectory();
    await using agent = await startSshAgent(directory.path);
    for (const type of ["ecdsa", "rsa"]) {
      const path = await makeKey(`agent-${type}`, "-t", type);
      await authorize(path);
      await agent.add(path);
      const entered = login({ identityFiles: [path], agentSocket: agent.socketPath, identitiesOnly: true });
      await expect(entered).resolves.toBe("in");
    }
  });

  test("spares the passphrase of a key file it holds", async () => {
    await using directory = await temporaryDirectory();
    await using agent = await startSshAgent(directory.path);
    const path = await makeKey("held", "-t", "ed25519");
    await authorize(path);
    await agent.add(path);
    await runTool("ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase nobody is asked for", "-f", path);
    await expect(login({ identityFiles: [path], agentSocket: agent.socketPath })).resolves.toBe("in");
  });

  test("signs for a key of which only the public half is named", async () => {
    await using directory = await temporaryDirectory();
    await using agent = await startSshAgent(directory.path);
    await agent.add(stranger);
    await agent.add(sshd.identityFile);
    const agentSocket = agent.socketPath;
    const half = { identityFiles: [`${sshd.identityFile}.pub`], identitiesOnly: true };
    await expect(login({ ...half, agentSocket })).resolves.toBe("in");
    await expect(login(half)).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining("is a public key, and the agent does not hold its private one"),
    });
  });

  test("spares the passphrase of a PEM key whose public half lies beside it", async () => {
    await using directory = await temporaryDirectory();
    await using agent = await startSshAgent(directory.path);
    const path = await makeKey("held-pem", "-t", "rsa", "-b", "2048", "-m", "PEM");
    await authorize(path);
    await agent.add(path);
    await runTool(
      "ssh-keygen",
      "-q",
      "-p",
      "-m",
      "PEM",
      "-P",
      "",
      "-N",
      "a passphrase nobody is asked for",
      "-f",
      path,
    );
    await expect(login({ identityFiles: [path], agentSocket: agent.socketPath })).resolves.toBe("in");
  });

  test("does not come before a key that is named", async () => {
    await using directory = await temporaryDirectory();
    await using agent = await startSshAgent(directory.path);
    await agent.add(stranger);
    const refused = await makeKey("named-first", "-t", "ed25519");
    const attempt = login({ identityFiles: [refused], agentSocket: agent.socketPath });
    await expect(attempt).rejects.toMatchObject({
      details: { tried: [{ name: refused }, { name: "agent: stranger", fingerprint: await fingerprintOf(stranger) }] },
    });
  });

  test("that does not answer is passed over, and the failure says so", async () => {
    const attempt = login({ identityFiles: [stranger], agentSocket: "/nonexistent/agent.sock" });
    await expect(attempt).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining("does not answer at /nonexistent/agent.sock"),
    });
  });

  test("with more wrong keys than the server has patience for is told to offer fewer", async () => {
    await using directory = await temporaryDirectory();
    await using agent = await startSshAgent(directory.path);
    for (let number = 0; number < 8; number++) await agent.add(await makeKey(`wrong-${number}`, "-t", "ed25519"));
    const attempt = loginWithoutNames(directory.path, { agentSocket: agent.socketPath });
    await expect(attempt).rejects.toMatchObject({ code: "ssh-auth", hint: expect.stringContaining("-i") });
  });
});

test("a refusal lists every key with its fingerprint and what the server accepts", async () => {
  await expect(login({ identityFiles: [stranger] })).rejects.toMatchObject({
    code: "ssh-auth",
    message: expect.stringContaining(
      `tried key ${stranger} (${await fingerprintOf(stranger)}); the server accepts publickey`,
    ),
    details: { user: sshd.user, accepts: ["publickey"] },
  });
});

test("two proofs are given where the server wants two", async () => {
  await using strict = await startSshd({ config: ["AuthenticationMethods publickey,publickey"] });
  const second = join(strict.directory, "second");
  await runTool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", second);
  const keys = join(strict.directory, "authorized_keys");
  await writeFile(keys, (await readFile(keys, "utf8")) + (await readFile(`${second}.pub`, "utf8")));
  const credentials = { identityFiles: [strict.identityFile, second] };
  await using connection = await connectSsh(optionsFor(strict, { credentials }));
  expect(connection.isOpen).toBe(true);
});

test("the order of two proofs is the server's to choose", async () => {
  const offTheClock = <T>(question: T): T => question;
  const credentials = new Credentials({
    home: "/nonexistent",
    identityFiles: [sshd.identityFile],
    password: new Secret("words"),
  });
  const authentication = new Authentication("me", credentials, { offTheClock }, "server:22");
  const answers: [methods: string[] | null, partly: boolean | null][] = [
    [null, null],
    [["password"], false],
    [["publickey"], true],
    [["publickey"], false],
  ];
  const offers: (string | undefined)[] = [];
  for (const [methods, partly] of answers) offers.push((await authentication.next(methods, partly))?.type);
  expect(offers).toEqual(["none", "password", "publickey", undefined]);
});
