/**
 * nginx as the edge in front of a gateway: `/` lets in who shows both halves of a service token, as Cloudflare Access does, and sends
 * everybody else to a login; the other paths answer as edges do.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Certificate } from "../fixtures/raw-server.ts";
import { endChild } from "./child.ts";
import { freePort } from "./sshd.ts";

export interface Edge extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
}

export interface EdgeOptions {
  readonly gatewayPort: number;
  /** Where `/` and `/redirect` send who is not known. */
  readonly loginUrl: string;
  /** The edge speaks TLS. */
  readonly certificate?: Certificate;
}

/** The two halves of the service token that is let in. */
export const serviceToken = { id: "service-id-of-the-edge.access", secret: "service-secret-of-the-edge" };
/** As they are typed. */
export const serviceHeaders = [
  `CF-Access-Client-Id: ${serviceToken.id}`,
  `CF-Access-Client-Secret: ${serviceToken.secret}`,
] as const;

const program = "/usr/sbin/nginx";

/** Starts nginx; resolves once it answers. Fails, and says what to install, where there is none. */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  if (!existsSync(program)) {
    throw new Error(`${program} is missing: install it with apt-get install --no-install-recommends nginx`);
  }
  const prefix = mkdtempSync(join(tmpdir(), "edge-"));
  const { certificate } = options;
  if (certificate !== undefined) {
    writeFileSync(join(prefix, "cert.pem"), certificate.cert);
    writeFileSync(join(prefix, "key.pem"), certificate.key, { mode: 0o600 });
  }
  writeFileSync(join(prefix, "login.html"), loginPage);
  writeFileSync(join(prefix, "staff"), "staff:{PLAIN}never-used\n");
  for (let attempt = 0; attempt < 5; attempt++) {
    const port = await freePort();
    const config = join(prefix, "nginx.conf");
    writeFileSync(config, configFor(prefix, port, options));
    const child = spawn(program, ["-p", prefix, "-c", config, "-e", "stderr"], { stdio: "ignore" });
    if (await listens(child, port)) {
      return {
        port,
        url: `${certificate === undefined ? "ws" : "wss"}://127.0.0.1:${port}`,
        async [Symbol.asyncDispose]() {
          await endChild(child);
          rmSync(prefix, { recursive: true, force: true });
        },
      };
    }
    await endChild(child);
  }
  rmSync(prefix, { recursive: true, force: true });
  throw new Error("nginx does not start");
}

const loginPage = `<!doctype html><html><head><title>Sign in · Example</title></head>
<body><form method="post" action="/session"><input name="user"><input name="secret" type="password"></form></body></html>`;

/** One process, so that its end is the end of everything. */
function configFor(prefix: string, port: number, { gatewayPort, loginUrl, certificate }: EdgeOptions): string {
  const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${prefix}/${name};`,
  );
  const tls =
    certificate === undefined ? "" : `ssl_certificate ${prefix}/cert.pem; ssl_certificate_key ${prefix}/key.pem;`;
  return `
    daemon off;
    master_process off;
    pid ${prefix}/nginx.pid;
    events {}
    http {
      access_log off;
      map_hash_bucket_size 256;
      default_type text/plain;
      types { text/html html; }
      ${places.join(" ")}
      map "$http_cf_access_client_id $http_cf_access_client_secret" $is_known {
        default 0;
        "${serviceToken.id} ${serviceToken.secret}" 1;
      }
      server {
        listen 127.0.0.1:${port}${certificate === undefined ? "" : " ssl"};
        ${tls}
        root ${prefix};
        location / {
          if ($is_known = 0) { return 302 "${loginUrl}/cdn-cgi/access/login?kid=1&redirect_url=%2F"; }
          proxy_pass http://127.0.0.1:${gatewayPort};
          proxy_http_version 1.1;
          proxy_read_timeout 1h;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection "upgrade";
          proxy_set_header Host gateway.example.test;
          proxy_set_header X-Forwarded-For $remote_addr;
          proxy_set_header CF-Access-Client-Id "";
          proxy_set_header CF-Access-Client-Secret "";
        }
        location = /redirect { return 302 "${loginUrl}/oauth2/start?rd=%2F&state=abc"; }
        location = /login { try_files /login.html =500; }
        location = /forbidden { deny all; }
        location = /basic { auth_basic "staff only"; auth_basic_user_file ${prefix}/staff; }
        location = /page { default_type text/html; return 200 "<!doctype html><html><title>Welcome</title></html>"; }
        location = /echo {
          default_type text/plain;
          return 403 "you sent $http_authorization and $http_cf_access_client_secret";
        }
        location = /limited { add_header Retry-After 17 always; return 429 "slow down"; }
      }
    }
  `;
}

async function listens(child: ChildProcess, port: number): Promise<boolean> {
  while (child.exitCode === null && child.signalCode === null) {
    // Whatever it answers, on TLS too: that it answers.
    const answered = await fetch(`http://127.0.0.1:${port}/page`).then(
      () => true,
      () => false,
    );
    if (answered) return true;
    await delay(20);
  }
  return false;
}
