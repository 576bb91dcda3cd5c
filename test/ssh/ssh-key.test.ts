/** SSH keys we make and read, held against ssh-keygen. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import ssh2 from "ssh2";
import { describe, expect, test } from "vitest";
import { keyFingerprint } from "../../src/ssh/known-hosts.ts";
import { generateSshKey, isEncryptedKey, publicBlobOf } from "../../src/ssh/ssh-key.ts";
import { runTool } from "../support/sshd.ts";
import { temporaryDirectory } from "../tunnel/world.ts";

describe("a fresh key", () => {
  test("is one that ssh-keygen reads, with the same public half", async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, "key");
    const { privateKey, publicKey } = generateSshKey("a comment");
    await writeFile(path, privateKey.reveal(), { mode: 0o600 });
    expect((await runTool("ssh-keygen", "-y", "-f", path)).trim()).toBe(publicKey);
  });

  test("is readable every time it is made", () => {
    for (let count = 0; count < 300; count++) {
      const { privateKey, publicKey } = generateSshKey();
      const parsed = ssh2.utils.parseKey(privateKey.reveal());
      if (parsed instanceof Error) throw parsed;
      expect(parsed.getPublicSSH().toString("base64")).toBe(publicKey.split(" ")[1]);
    }
  });

  test("does not show its private half", () => {
    expect(JSON.stringify(generateSshKey())).not.toContain("OPENSSH PRIVATE KEY");
  });
});

describe("a key file", () => {
  test.each<[form: string, options: string[], knowsPublic: boolean]>([
    ["OpenSSH", ["-t", "ed25519"], true],
    ["OpenSSH", ["-t", "ecdsa"], true],
    ["PEM", ["-t", "ecdsa", "-m", "PEM"], false],
    ["PKCS#8", ["-t", "ecdsa", "-m", "PKCS8"], false],
  ])(
    "in %s form (%j) tells whether it is encrypted, and its public half if it can",
    async (_form, options, knowsPublic) => {
      await using directory = await temporaryDirectory();
      for (const passphrase of ["", "words"]) {
        const path = join(directory.path, `key${passphrase}`);
        await runTool("ssh-keygen", "-q", "-N", passphrase, "-f", path, ...options);
        const text = await readFile(path, "utf8");
        expect(isEncryptedKey(text)).toBe(passphrase !== "");
        const blob = publicBlobOf(text);
        const printed = (await runTool("ssh-keygen", "-l", "-f", path)).split(" ")[1];
        expect(blob && keyFingerprint(blob)).toBe(knowsPublic ? printed : undefined);
      }
    },
  );

  test.each([
    "",
    "text",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA/////w==\n-----END",
  ])("that is broken (%j) has no public half", (text) => expect(publicBlobOf(text)).toBeUndefined());
});
