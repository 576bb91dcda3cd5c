/** The programs that people put in front of a gateway, as real processes: nginx, caddy and haproxy, with a single sign-on of the tests behind them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { endChild, takesConnections } from "../support/child.ts";
import { freePort } from "../support/sshd.ts";

/** Whoever has this cookie is `ssoUser`. */
export const session = "session=of-the-tests";
export const ssoUser = "me@example.com";

export interface FrontOptions {
  /** Where the gateway is, as the front dials it. */
  readonly gateway: { readonly host: string; readonly port: number };
  readonly userHeader: string;
  readonly ssoPort: number;
  /** Address to listen on. */
  readonly listen: string;
  /** Headers that are set besides, as the front writes them. */
  readonly extra?: Readonly<Record<string, string>>;
  /** The network namespace that it runs in. */
  readonly namespace?: string;
}

export interface Front extends AsyncDisposable {
  readonly port: number;
}

export const fronts = ["nginx", "caddy", "haproxy"] as const;
export type FrontName = (typeof fronts)[number];

const programs: Record<FrontName, string> = {
  nginx: "/usr/sbin/nginx",
  caddy: "/usr/bin/caddy",
  haproxy: "/usr/sbin/haproxy",
};

/** Starts it; resolves once it takes connections. Fails, and says what to install, where it is missing. */
export async function startFront(name: FrontName, options: FrontOptions): Promise<Front> {
  const program = programs[name];
  if (!existsSync(program)) {
    throw new Error(`${program} is missing: install it with apt-get install --no-install-recommends ${name}`);
  }
  const directory = mkdtempSync(join(tmpdir(), `${name}-`));
  for (let attempt = 0; attempt < 5; attempt++) {
    const port = await freePort();
    const path = join(directory, name === "caddy" ? "Caddyfile" : `${name}.conf`);
    writeFileSync(path, configs[name](options, port, directory));
    const inside = options.namespace === undefined ? [] : ["ip", "netns", "exec", options.namespace];
    const [command = "", ...args] = [...inside, program, ...argsOf(name, directory, path)];
    const env = { PATH: process.env["PATH"], HOME: directory, XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory };
    const child = spawn(command, args, { stdio: ["ignore", "ignore", "ignore"], env });
    if (await listens(child, options.listen, port)) {
      return {
        port,
        async [Symbol.asyncDispose]() {
          await endChild(child);
          rmSync(directory, { recursive: true, force: true });
        },
      };
    }
    await endChild(child);
  }
  rmSync(directory, { recursive: true, force: true });
  throw new Error(`${name} does not start`);
}

function argsOf(name: FrontName, directory: string, path: string): readonly string[] {
  switch (name) {
    case "nginx":
      return ["-p", directory, "-c", path, "-e", "stderr"];
    case "caddy":
      return ["run", "--config", path, "--adapter", "caddyfile"];
    case "haproxy":
      return ["-db", "-f", path];
  }
}

type Config = (options: FrontOptions, port: number, directory: string) => string;

const configs: Record<FrontName, Config> = { nginx: nginxConfig, caddy: caddyConfig, haproxy: haproxyConfig };

/** nginx asks the single sign-on about every request (auth_request), as oauth2-proxy and Authentik are used. */
function nginxConfig(
  { gateway, userHeader, ssoPort, listen, extra = {} }: FrontOptions,
  port: number,
  directory: string,
) {
  const places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (name) => `${name}_temp_path ${directory}/${name};`,
  );
  const set = {
    "X-Forwarded-For": "$proxy_add_x_forwarded_for",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "$host",
    [userHeader]: "$sso_user",
    ...extra,
  };
  const headers = Object.entries(set).map(([name, value]) => `proxy_set_header ${name} "${value}";`);
  return `
    daemon off; master_process off; pid ${directory}/nginx.pid;
    events {}
    http {
      access_log off;
      ${places.join(" ")}
      server {
        listen ${listen}:${port};
        location = /sso { internal; proxy_pass http://127.0.0.1:${ssoPort}/; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
        location / {
          auth_request /sso;
          auth_request_set $sso_user $upstream_http_x_sso_user;
          proxy_pass http://${gateway.host}:${gateway.port};
          proxy_http_version 1.1;
          proxy_read_timeout 1h;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection "upgrade";
          proxy_set_header Host $host;
          ${headers.join(" ")}
        }
      }
    }
  `;
}

/** caddy asks by forward_auth, and copies the user from the answer. */
function caddyConfig({ gateway, userHeader, ssoPort, listen, extra = {} }: FrontOptions, port: number) {
  const more = Object.entries(extra).map(([name, value]) => `header_up ${name} "${value}"`);
  return `
    {
      admin off
      auto_https off
    }
    http://:${port} {
      bind ${listen}
      forward_auth 127.0.0.1:${ssoPort} {
        uri /
        copy_headers X-Sso-User>${userHeader}
      }
      reverse_proxy ${gateway.host}:${gateway.port} {
        header_up X-Forwarded-Proto https
        ${more.join("\n        ")}
      }
    }
  `;
}

/** haproxy has no such question: it knows the session itself, and sets the header over whatever the caller had there. */
function haproxyConfig({ gateway, userHeader, listen, extra = {} }: FrontOptions, port: number) {
  const more = Object.entries(extra).map(([name, value]) => `  http-request set-header ${name} "${value}"`);
  return `
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend front
  bind ${listen}:${port}
  http-request deny deny_status 401 unless { req.cook(session) -m str ${session.split("=")[1] ?? ""} }
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header ${userHeader} ${ssoUser}
  option forwardfor
${more.join("\n")}
  default_backend gateway
backend gateway
  server one ${gateway.host}:${gateway.port}
`;
}

/** A single sign-on: it knows one session, and says whose it is. */
export async function startSso(): Promise<Front> {
  const server = createServer((request, response) => {
    const isKnown = request.headers.cookie?.includes(session) === true;
    response.writeHead(isKnown ? 200 : 401, isKnown ? { "X-Sso-User": ssoUser } : {});
    response.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** In a network namespace only its own end of the wire says when it listens. */
async function listens(child: ChildProcess, host: string, port: number): Promise<boolean> {
  while (child.exitCode === null && child.signalCode === null) {
    if (await takesConnections(host, port)) return true;
    await delay(20);
  }
  return false;
}
