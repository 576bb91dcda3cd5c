/** What the decision about a target is made from. */
import type { Secret } from "../secret.ts";
import type { Environment } from "./environment.ts";
import type { GatewayUrl } from "./gateway-url.ts";
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
  readonly tlsAcceptNew?: boolean | undefined;
  readonly token?: string | undefined;
  readonly tokenFile?: string | undefined;
  readonly password?: string | undefined;
  readonly passwordFile?: string | undefined;
  readonly header?: readonly string[] | undefined;
  readonly headerFile?: string | undefined;
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
  /** The gateways of this state directory that run now, wherever they listen. */
  readonly running?: readonly RunningGateway[] | undefined;
  /** A gateway that runs here is meant, when none is named and nothing of ours holds the configured port. */
  readonly prefersRunning?: boolean | undefined;
}

export interface RunningGateway {
  readonly pid: number;
  readonly url: GatewayUrl;
}

interface StoredToken {
  readonly value: Secret;
  readonly path: string;
}
