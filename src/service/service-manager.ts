/** What keeps services running: the same questions for systemd's user manager and for launchd. */
import type { ServiceSpec } from "./service-spec.ts";

export interface ServiceManager {
  readonly kind: "systemd" | "launchd";
  /** The manager's name for the service, and the file it is described in. */
  unitOf(name: string): ServiceUnit;
  text(name: string, spec: ServiceSpec): string;
  /** The services' names whose files are there, ours or not. */
  names(): Promise<readonly string[]>;
  /** `no-service-manager` where it cannot be reached. The other calls end so too. */
  assertReachable(): Promise<void>;
  /** Takes in the file as it is now, for this start and all later ones. */
  enable(name: string): Promise<void>;
  start(name: string): Promise<void>;
  stop(name: string): Promise<void>;
  restart(name: string): Promise<void>;
  /** Stops it, and starts it no more. The file is still there. */
  disable(name: string): Promise<void>;
  /** Called when the file is gone. */
  forget(name: string): Promise<void>;
  state(name: string): Promise<ServiceState>;
  /** The last lines that the service said, where they can be had. */
  lastLines(name: string, count: number): Promise<readonly string[]>;
}

export interface ServiceUnit {
  readonly unit: string;
  readonly path: string;
}

export interface ServiceState {
  /** Whether it is started with the session. */
  readonly enabled: boolean;
  /** `restarting`: it ended and is about to be started again. */
  readonly run: "running" | "restarting" | "stopped" | "failed";
  readonly pid?: number;
  /** How its process ended last, in the manager's words. */
  readonly lastEnd?: string;
}
