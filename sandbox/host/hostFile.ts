/** host.json, as far as the local host acts on it: https://learn.microsoft.com/azure/azure-functions/functions-host-json */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { AppStartError, readJson } from "./settings.ts";

export interface HostFile {
  /** Without slashes; `api` unless the file says otherwise, possibly empty. */
  readonly routePrefix: string;
  readonly serviceBus: ServiceBusOptions;
}

export interface ServiceBusOptions {
  /** Invocations of one function at a time in this process. */
  readonly maxConcurrentCalls: number;
  /** Whether the host completes a message when its function has succeeded. */
  readonly autoCompleteMessages: boolean;
  readonly maxAutoLockRenewalDurationMs: number;
}

interface RawHostFile {
  readonly version?: string;
  readonly extensions?: {
    readonly http?: { readonly routePrefix?: string };
    readonly serviceBus?: {
      readonly maxConcurrentCalls?: number;
      readonly autoCompleteMessages?: boolean;
      readonly maxAutoLockRenewalDuration?: string;
    };
  };
}

/** @throws AppStartError when the file is missing, is no JSON, or is not of version 2.0 */
export function readHostFile(appDirectory: string): HostFile {
  const file = join(appDirectory, "host.json");
  if (!existsSync(file)) throw new AppStartError(`${file} is missing: a function app needs a host.json.`);
  const raw = readJson(file) as RawHostFile;
  if (raw.version !== "2.0") throw new AppStartError(`${file}: "version" must be "2.0".`);
  const serviceBus = raw.extensions?.serviceBus;
  return {
    routePrefix: (raw.extensions?.http?.routePrefix ?? "api").replace(/^\/+|\/+$/g, ""),
    serviceBus: {
      maxConcurrentCalls: serviceBus?.maxConcurrentCalls ?? 16,
      autoCompleteMessages: serviceBus?.autoCompleteMessages ?? true,
      maxAutoLockRenewalDurationMs: durationMs(serviceBus?.maxAutoLockRenewalDuration ?? "00:05:00", file),
    },
  };
}

/** Milliseconds of a .NET TimeSpan: `[d.]hh:mm:ss`. */
function durationMs(text: string, file: string): number {
  const match = /^(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})$/.exec(text);
  if (match === null) throw new AppStartError(`${file}: "${text}" is not a duration of the form hh:mm:ss.`);
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
  return (((days! * 24 + hours!) * 60 + minutes!) * 60 + seconds!) * 1000;
}
