import type { TokenCredential } from "@azure/core-auth";
import { silence, type Telemetry } from "../engine/ports/telemetry.ts";
import { lazyTelemetry, together } from "./lazy.ts";
import { webhook } from "./webhook.ts";

export interface TelemetrySettings {
  /** Of Application Insights; undefined: nothing is sent there. */
  readonly connectionString: string | undefined;
  /** Ingestion by identity (APPLICATIONINSIGHTS_AUTHENTICATION_STRING). */
  readonly byIdentity: boolean;
  /** When the password of the directory account ends, in milliseconds since 1970; undefined: never, or not known. */
  readonly passwordEnds: number | undefined;
  readonly webhook:
    | { readonly url: string; readonly format: "json" | "teams"; readonly overdueMs: number }
    | undefined;
}

/** @param log told of a receiver that cannot be opened or does not take what it is sent; never a secret */
export function openTelemetry(
  settings: TelemetrySettings,
  credential: TokenCredential,
  version: string,
  log: (message: string) => void,
): Telemetry {
  const receivers: Telemetry[] = [];
  const { connectionString, byIdentity } = settings;
  if (connectionString !== undefined) {
    // The exporter reports its own use to its makers unless told not to: it is nobody's wish here.
    process.env.APPLICATION_INSIGHTS_NO_STATSBEAT ??= "1";
    const open = async () =>
      (await import("./azureMonitor.ts")).openAzureMonitor({
        connectionString,
        version,
        ...(byIdentity ? { credential } : {}),
      });
    receivers.push(
      lazyTelemetry(open, (error) =>
        log(`Application Insights gets nothing: ${(error as Error).message}. Check its connection string.`),
      ),
    );
  }
  if (settings.webhook !== undefined) receivers.push(webhook({ ...settings.webhook, onFailure: log }));
  return receivers.length === 0 ? silence : together(receivers);
}
