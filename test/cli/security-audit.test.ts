/** security audit: the real state directory, the configuration files and their permissions. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CliHome, type CliResult } from "../support/run-cli.ts";
import { at } from "../support/raw-client.ts";
import { startGatewayHome } from "./world.ts";

function write(home: CliHome, text: string, mode = 0o600): string {
  mkdirSync(home.stateDir, { recursive: true, mode: 0o700 });
  const path = join(home.stateDir, "openclaw.json");
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  return path;
}

/** The ids of the findings, whether the audit ended well or not. */
function idsOf({ json }: CliResult): readonly unknown[] {
  const findings = at(json, "findings") ?? at(json, "error", "details", "findings");
  return Array.isArray(findings) ? findings.map((one: unknown) => at(one, "id")) : [];
}

test("a machine with a gateway of ours as it comes has nothing to be warned of", async () => {
  await using home = await startGatewayHome();
  const result = await home.run("security audit --json");
  expect(result).toMatchObject({ code: 0, json: { ok: true, summary: { critical: 0, warn: 0, info: 1 } } });
  expect(idsOf(result)).toEqual(["services.loopback-is-not-enough"]);
});

test("files that others can read are found, named with their mode, and closed by the fix", async () => {
  await using home = await startGatewayHome();
  chmodSync(home.tokenFile, 0o644);
  const result = await home.run("security audit --json");
  expect(result).toMatchObject({
    code: 1,
    json: {
      ok: false,
      error: {
        code: "failed",
        fix: `chmod 600 ${home.tokenFile}`,
        details: { summary: { critical: 1 }, findings: [{ id: "files.secret-readable", severity: "critical" }, {}] },
      },
    },
  });
  expect(result.stdout).toContain("mode 0644");
  chmodSync(home.tokenFile, 0o600);
  expect(await home.run("security audit")).toMatchObject({ code: 0 });
});

test("people read what, why and what to type; critical ones end with 1, and no secret is shown", async () => {
  using home = new CliHome();
  const path = write(home, '{gateway: {auth: {token: "letmein123"}}}', 0o644);
  const { code, stdout, stderr } = await home.run("security audit");
  expect(code).toBe(1);
  expect(stdout).toContain("CRITICAL  secret.weak-token\n  the gateway's token is weak\n  why: ");
  expect(stdout).toContain(`  fix: chmod 600 ${path}\n`);
  expect(stdout).toContain("  fix: openclaw config set gateway.auth.token --value-file new-token\n");
  expect(stdout).toMatch(/\n2 critical, 0 to be warned of, 2 to know\n$/u);
  expect(stderr).toContain("openclaw: the audit found 2 critical problems\n");
  expect(stdout + stderr).not.toContain("letmein123");
});

test("a secret that the product's file only refers to is not in it", async () => {
  using home = new CliHome();
  write(home, '{gateway: {auth: {token: "${GATEWAY_SECRET}"}}}', 0o644);
  const result = await home.run("security audit --json", { env: { GATEWAY_SECRET: "kT9vB2mQx7LpZr4Wc8Ys1NdH5" } });
  expect(result.code).toBe(0);
  expect(idsOf(result)).toEqual(["services.loopback-is-not-enough"]);
});

test("report B's configuration is warned of for what it implies", async () => {
  using home = new CliHome();
  write(home, readFileSync(join(import.meta.dirname, "../fixtures/reports/b-trusted-proxy-loopback.json5"), "utf8"));
  const result = await home.run("security audit --json");
  expect(result.code).toBe(0);
  expect(idsOf(result)).toEqual([
    "proxy.loopback-implied",
    "proxy.every-user-is-admin",
    "services.loopback-is-not-enough",
  ]);
});

test("the fixes can be pasted: after them the findings are gone", async () => {
  using home = new CliHome();
  write(
    home,
    `{gateway: {
      auth: {mode: "trusted-proxy", trustedProxy: {userHeader: "x-user"}},
      trustedProxies: ["127.0.0.1", "0.0.0.0/0"],
      controlUi: {allowedOrigins: ["*"]},
      pairing: {autoApproveOperators: "loopback"},
    }}`,
  );
  const before = await home.run("security audit --json");
  expect(before.code).toBe(1);
  const findings = at(before.json, "error", "details", "findings");
  for (const finding of Array.isArray(findings) ? findings : []) {
    const fix = String(at(finding, "fix"));
    if (!fix.startsWith("openclaw config set ")) continue;
    expect(await home.run(fix.replace(/^openclaw /u, ""))).toMatchObject({ code: 0 });
  }
  const after = await home.run("security audit --json");
  expect(after.code).toBe(0);
  expect(idsOf(after)).toEqual(["services.loopback-is-not-enough"]);
});

test("a tailnet without the program that confirms it is found", async () => {
  using home = new CliHome();
  write(home, '{gateway: {tailscale: {mode: "enabled", whoisCommand: ["/nowhere/whois"]}}}');
  expect(idsOf(await home.run("security audit --json"))).toContain("tailscale.no-whois");
  const program = home.path("whois");
  writeFileSync(program, "#!/bin/sh\n", { mode: 0o755 });
  write(home, `{gateway: {tailscale: {mode: "enabled", whoisCommand: [${JSON.stringify(program)}]}}}`);
  expect(idsOf(await home.run("security audit --json"))).not.toContain("tailscale.no-whois");
});
