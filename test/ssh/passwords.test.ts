/** Passwords and what else a server asks: from a file, from a person, remembered for the next connection. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import ssh2 from "ssh2";
import type { AuthContext, Prompt } from "ssh2";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Secret } from "../../src/secret.ts";
import { shown } from "../../src/ssh/answers.ts";
import { connectSsh } from "../../src/ssh/connect.ts";
import type { SshOptions } from "../../src/ssh/connect.ts";
import { Credentials } from "../../src/ssh/credentials.ts";
import type { CredentialOptions, ServerQuestion } from "../../src/ssh/credentials.ts";
import { generateSshKey } from "../../src/ssh/ssh-key.ts";
import { runTool, startSshd } from "../support/sshd.ts";
import type { Sshd } from "../support/sshd.ts";
import { optionsFor } from "../tunnel/world.ts";

/** Answers by what the prompt begins with, and keeps the questions. */
function person(answers: Readonly<Record<string, readonly (string | undefined)[]>>) {
  const left = new Map(Object.entries(answers).map(([start, all]) => [start, [...all]]));
  return vi.fn(async ({ text }: ServerQuestion) => {
    const [, queue = []] = [...left].find(([start]) => text.startsWith(start)) ?? [];
    const answer = queue.shift();
    return answer === undefined ? undefined : new Secret(answer);
  });
}

// Only root may make users, and only root's sshd may check their passwords.
describe.runIf(process.getuid?.() === 0)("OpenSSH's server and a real user", () => {
  const user = `oc-test-${randomBytes(4).toString("hex")}`;
  const password = randomBytes(9).toString("base64url");
  let plain: Sshd;
  let pam: Sshd;
  beforeAll(async () => {
    await runTool("useradd", "--no-create-home", "--shell", "/bin/sh", user);
    const chpasswd = spawn("chpasswd", { stdio: ["pipe", "ignore", "inherit"] });
    chpasswd.stdin.end(`${user}:${password}\n`);
    await new Promise((resolve) => chpasswd.once("exit", resolve));
    plain = await startSshd({ config: ["PasswordAuthentication yes"] });
    pam = await startSshd({ config: ["UsePAM yes", "KbdInteractiveAuthentication yes"] });
  });
  afterAll(async () => {
    await plain[Symbol.asyncDispose]();
    await pam[Symbol.asyncDispose]();
    await runTool("userdel", user);
  });

  function optionsAt(sshd: Sshd, credentials: Partial<CredentialOptions>): SshOptions {
    return { ...optionsFor(sshd), user, credentials: new Credentials({ home: "/nonexistent", ...credentials }) };
  }

  test.each<[method: string, server: () => Sshd]>([
    ["password", () => plain],
    ["keyboard-interactive", () => pam],
  ])("let in by %s from a file", async (method, server) => {
    await using connection = await connectSsh(optionsAt(server(), { password: new Secret(password) }));
    expect(connection.isOpen).toBe(true);
    await server().logged(new RegExp(`Accepted ${method}(/pam)? for ${user}`));
  });

  test.each<[method: string, server: () => Sshd, prompt: string]>([
    ["password", () => plain, `Password of ${user}@`],
    ["keyboard-interactive", () => pam, `(${user}@`],
  ])("ask for the %s again when it was wrong, and not for the next connection", async (_method, server, start) => {
    const askAnswer = person({ [start]: ["wrong", password], "Password:": ["wrong", password] });
    const options = optionsAt(server(), { askAnswer });
    for (let time = 0; time < 2; time++) await (await connectSsh(options)).close();
    expect(askAnswer).toHaveBeenCalledTimes(2);
    expect(askAnswer.mock.calls[0]?.[0]).toMatchObject({
      server: `${user}@127.0.0.1:${server().port}`,
      isHidden: true,
    });
  });

  test("refuse a wrong one after one try when there is nobody to ask", async () => {
    const before = plain.log.filter((line) => line.includes("Failed password")).length;
    await expect(connectSsh(optionsAt(plain, { password: new Secret("wrong") }))).rejects.toMatchObject({
      code: "ssh-auth",
      message: expect.stringContaining("tried password; the server accepts"),
    });
    expect(plain.log.filter((line) => line.includes("Failed password"))).toHaveLength(before + 1);
  });

  test("are left alone when the person turns the question away", async () => {
    const askAnswer = person({});
    await expect(connectSsh(optionsAt(plain, { askAnswer }))).rejects.toMatchObject({ code: "ssh-auth" });
    expect(askAnswer).toHaveBeenCalledTimes(1);
  });

  test("are not asked by a method that the configuration leaves out", async () => {
    const askAnswer = person({ "Password of": [password] });
    const attempt = connectSsh(optionsAt(plain, { askAnswer, methods: ["publickey"] }));
    await expect(attempt).rejects.toMatchObject({ code: "ssh-auth" });
    expect(askAnswer).not.toHaveBeenCalled();
  });
});

/** A server that asks what it is told to ask, and lets in who answers right. */
async function askingServer(rounds: readonly { prompts: Prompt[]; title?: string; text?: string; right: string[] }[]) {
  const heard: string[][] = [];
  const authorize = (attempt: AuthContext) => {
    if (attempt.method !== "keyboard-interactive") return attempt.reject(["keyboard-interactive"]);
    const ask = (number: number): void => {
      const round = rounds[number];
      if (round === undefined) return attempt.accept();
      attempt.prompt(round.prompts, round.title ?? "", round.text ?? "", (answers) => {
        heard.push(answers);
        if (answers.join("\n") === round.right.join("\n")) ask(number + 1);
        else attempt.reject(["keyboard-interactive"]);
      });
    };
    ask(0);
  };
  const server = new ssh2.Server({ hostKeys: [generateSshKey().privateKey.reveal()] }, (client) => {
    client.on("authentication", authorize).on("error", () => {});
    client.on("session", (_accept, reject) => reject());
  });
  const tcp = createServer((socket) => server.injectSocket(socket));
  await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
  const { port } = tcp.address() as AddressInfo;
  const optionsWith = (credentials: Partial<CredentialOptions>): SshOptions => ({
    host: "127.0.0.1",
    port,
    user: "me",
    hostKeys: { files: { read: [] }, policy: "accept-new" },
    credentials: new Credentials({ home: "/nonexistent", ...credentials }),
  });
  const close = () => new Promise<void>((resolve) => tcp.close(() => resolve()));
  return { heard, optionsWith, [Symbol.asyncDispose]: close };
}

describe("keyboard-interactive", () => {
  const twoQuestions = [
    {
      prompts: [
        { prompt: "Name: ", echo: true },
        { prompt: "\u001b[31mPass\u0007word:\u202e ", echo: false },
      ],
      title: "Two\r\nfactors",
      text: "\u001b]0;evil\u0007Read this",
      right: ["Bob", "secret"],
    },
    { prompts: [{ prompt: "Code:", echo: false }], right: ["123"] },
  ];

  test("asks every question in the server's words, as one harmless line each", async () => {
    await using server = await askingServer(twoQuestions);
    const askAnswer = person({ Name: ["Bob"], "[31mPass": ["secret"], Code: ["123"] });
    await (await connectSsh(server.optionsWith({ askAnswer }))).close();
    const instructions = "Two factors: ]0;evil Read this";
    expect(askAnswer.mock.calls.map(([question]) => question)).toEqual([
      { server: expect.stringMatching(/^me@127\.0\.0\.1:\d+$/), text: "Name:", instructions, isHidden: false },
      { server: expect.any(String), text: "[31mPass word:", instructions, isHidden: true },
      { server: expect.any(String), text: "Code:", isHidden: true },
    ]);
  });

  test("takes the password from its file and asks a person for the rest", async () => {
    await using server = await askingServer(twoQuestions);
    const askAnswer = person({ Name: ["Bob"], Code: ["123"] });
    await (await connectSsh(server.optionsWith({ password: new Secret("secret"), askAnswer }))).close();
    expect(server.heard).toEqual([["Bob", "secret"], ["123"]]);
  });

  test("gives the password to hidden prompts only when there is nobody to ask", async () => {
    await using server = await askingServer(twoQuestions);
    const attempt = connectSsh(server.optionsWith({ password: new Secret("secret") }));
    await expect(attempt).rejects.toMatchObject({ code: "ssh-auth" });
    expect(server.heard).toEqual([["", "secret"]]);
  });

  test("uses what was answered before, and asks again for what has changed since", async () => {
    const code = { prompts: [{ prompt: "Code:", echo: false }], right: ["1"] };
    await using server = await askingServer([code]);
    const askAnswer = person({ Code: ["1", "2"] });
    const options = server.optionsWith({ askAnswer });
    for (let time = 0; time < 2; time++) await (await connectSsh(options)).close();
    expect(askAnswer).toHaveBeenCalledTimes(1);
    code.right = ["2"];
    await (await connectSsh(options)).close();
    expect(server.heard).toEqual([["1"], ["1"], ["1"], ["2"]]);
  });
});

test.each([
  ["a\u0000b\u009b31mc", "a b 31mc"],
  ["  spaces \t kept inside ", "spaces   kept inside"],
  ["\u2066left\u2069 \u200fright", "left   right"],
  ["line one\nline two", "line one line two"],
  ["x".repeat(600), "x".repeat(500)],
])("what a server writes is shown harmless: %j", (text, want) => {
  expect(shown(text)).toBe(want);
});
