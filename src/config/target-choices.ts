/** What the decision about a target is made from. */
import type { Secret } from "../secret.ts";
import type { Environment } from "./environment.ts";
import type { Config } from "./resolve.ts";
import type { Input } from "./secret-file.ts";

/** The target options, as typed. */
export interface TargetFlags {
  readonly url?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: string | number | undefined;
  readonly tls?: boolean | undefined;
  readonly contextPath?: string | undefined;
  readonly tlsFingerprint?: string | undefined;
  readonly token?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly password?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly header?: readonly string[] | undefined;
  readonly noAuthHeader?: boolean | undefined;
  readonly insecureWs?: boolean | undefined;
}

export interface TargetChoices {
  readonly flags: TargetFlags;
  readonly env: Environment;
  readonly config: Config;
  /** For `--token-file -`. */
  readonly stdin?: Input | undefined;
  /** Looks up the token that this device holds for the gateway at an origin. */
  readonly deviceToken?: ((origin: string) => Promise<StoredToken | undefined>) | undefined;
  /** Ports at which this machine's own gateway is known to run, besides the configured one. */
  readonly runningPorts?: readonly number[] | undefined;
}

interface StoredToken {
  readonly value: Secret;
  readonly path: string;
}
