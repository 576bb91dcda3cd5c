/** nginx as an access proxy on loopback: it knows its user by a service secret, and tells the gateway behind it who that is. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { endChild } from "../support/child.ts";
import { freePort } from "../support/sshd.ts";

export interface Nginx extends AsyncDisposable {
  readonly port: number;
}

/** Who shows this in `CF-Access-Client-Secret` is let through, as `proxyUser`. */
export const accessSecret = "the-service-secret-of-the-access-proxy";
export const proxyUser = "alice@example.com";
/** The header that names the user to the gateway. */
export const userHeader = "x-forwarded-user";

const program = "/usr/sbin/nginx";

/** Starts nginx in front of a gateway; resolves once it answers. Fails, and says what to install, where there is none. */
export async function startNginx(gatewayPort: number): Promise<Nginx> {
  if (!existsSync(program)) {
    throw new Error(`${program} is missing: install it with apt-get install --no-install-recommends nginx`);
  }
  const prefix = mkdtempSync(join(tmpdir(), "nginx-"));
  for (let attempt = 0; attempt < 5; attempt++) {
    const port = await freePort();
    const config = join(prefix, "nginx.conf");
    writeFileSync(config, configFor(prefix, port, gatewayPort));
    const child = spawn(program, ["-p", prefix, "-c", config, "-e", "stderr"], { stdio: "ignore" });
    if (await answers(child, port)) {
      return {
        port,
        async [Symbol.asyncDispose]() {
          await endChild(child);
          rmSync(prefix, { recursive: true, force: true });
        },
      };
    }
  }
  rmSync(prefix, { recursive: true, force: true });
  throw new Error("nginx does not start");
}

/** One process, so that its end is the end of everything. The client's address is one that no machine has: ours would be loopback. */
function configFor(prefix: string, port: number, gatewayPort: number): string {
  const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${prefix}/${name};`,
  );
  return `
    daemon off;
    master_process off;
    pid ${prefix}/nginx.pid;
    events {}
    http {
      access_log off;
      ${places.join(" ")}
      map $http_cf_access_client_secret $user { default ""; "${accessSecret}" "${proxyUser}"; }
      server {
        listen 127.0.0.1:${port};
        location / {
          if ($user = "") { return 403; }
          proxy_pass http://127.0.0.1:${gatewayPort};
          proxy_http_version 1.1;
          proxy_read_timeout 1h;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection "upgrade";
          proxy_set_header Host gateway.example.test;
          proxy_set_header X-Forwarded-For 203.0.113.7;
          proxy_set_header X-Forwarded-Proto https;
          proxy_set_header ${userHeader} $user;
        }
      }
    }
  `;
}

async function answers(child: ChildProcess, port: number): Promise<boolean> {
  while (child.exitCode === null && child.signalCode === null) {
    const status = await fetch(`http://127.0.0.1:${port}/`).then(
      (response) => response.status,
      () => 0,
    );
    if (status === 403) return true;
    await delay(20);
  }
  return false;
}
