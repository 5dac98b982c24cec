/**
 * Telemetry to Application Insights by OpenTelemetry: the Azure Monitor exporter and the SDK parts that it asks for, and
 * no automatic instrumentation. The Functions instrumentation for OpenTelemetry is bound to an SDK generation that the
 * exporter no longer speaks, and the host reports requests, exceptions and console lines by itself (host.json).
 */
import { createHash } from "node:crypto";
import type { TokenCredential } from "@azure/core-auth";
import {
  AzureMonitorLogExporter,
  AzureMonitorMetricExporter,
  AzureMonitorTraceExporter,
} from "@azure/monitor-opentelemetry-exporter";
import {
  type Counter,
  type Histogram,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import {
  AlwaysOnSampler,
  BasicTracerProvider,
  BatchSpanProcessor,
  RandomIdGenerator,
} from "@opentelemetry/sdk-trace-base";
import type { Metric, Telemetry } from "../engine/ports/telemetry.ts";

export interface AzureMonitorOptions {
  readonly connectionString: string;
  /** Where ingestion wants an identity instead of the key in the connection string. */
  readonly credential?: TokenCredential;
  readonly version: string;
}

/** Amounts that add up; all other metrics are values at a moment. */
const sums: ReadonlySet<Metric> = new Set([
  "vestibule.objects",
  "vestibule.errors",
  "vestibule.throttled",
  "vestibule.storage.operations",
  "vestibule.queue.operations",
]);

export function openAzureMonitor({ connectionString, credential, version }: AzureMonitorOptions): Telemetry {
  const options = {
    connectionString,
    // What could not be sent is not written to disk: an instance has none that lasts.
    disableOfflineStorage: true,
    ...(credential === undefined ? {} : { credential }),
  };
  const resource = resourceFromAttributes({ "service.name": "vestibule", "service.version": version });
  const ids = new RunIds();
  // Everything is kept: runs are few, and an alert must not depend on a sample.
  const traces = new BasicTracerProvider({
    resource,
    sampler: new AlwaysOnSampler(),
    idGenerator: ids,
    spanProcessors: [new BatchSpanProcessor(new AzureMonitorTraceExporter(options))],
  });
  const logs = new LoggerProvider({
    resource,
    processors: [new BatchLogRecordProcessor({ exporter: new AzureMonitorLogExporter(options) })],
  });
  const metrics = new MeterProvider({
    resource,
    readers: [
      new PeriodicExportingMetricReader({
        exporter: new AzureMonitorMetricExporter(options),
        exportIntervalMillis: 60_000,
      }),
    ],
  });
  const tracer = traces.getTracer("vestibule");
  const logger = logs.getLogger("vestibule");
  const meter = metrics.getMeter("vestibule");
  const counters = new Map<Metric, Counter>();
  const histograms = new Map<Metric, Histogram>();

  const inRun = (run: string) =>
    trace.setSpanContext(ROOT_CONTEXT, {
      traceId: traceIdOf(run),
      spanId: spanIdOf(run),
      traceFlags: TraceFlags.SAMPLED,
      isRemote: true,
    });

  return {
    event(name, properties, run) {
      logger.emit({
        // https://learn.microsoft.com/azure/azure-monitor/app/opentelemetry-add-modify (custom events)
        attributes: { ...properties, "microsoft.custom_event.name": name },
        ...(run === undefined ? {} : { context: inRun(run) }),
      });
    },
    metric(name, value, dimensions) {
      if (sums.has(name)) instrument(counters, name, () => meter.createCounter(name)).add(value, dimensions);
      else instrument(histograms, name, () => meter.createHistogram(name)).record(value, dimensions);
    },
    span(name, run, { startedAt, endedAt, failed, isRun = false }, properties) {
      // As a server's span it is a request, with its name; a consumer's loses the name on the way.
      if (isRun) ids.next = { traceId: traceIdOf(run), spanId: spanIdOf(run) };
      const span = tracer.startSpan(
        name,
        { startTime: startedAt, kind: SpanKind.SERVER, attributes: properties, root: isRun },
        isRun ? ROOT_CONTEXT : inRun(run),
      );
      ids.next = undefined;
      span.setStatus({ code: failed ? SpanStatusCode.ERROR : SpanStatusCode.OK });
      span.end(endedAt);
    },
    async flush() {
      await Promise.allSettled([traces.forceFlush(), logs.forceFlush(), metrics.forceFlush()]);
    },
  };
}

function instrument<T>(known: Map<Metric, T>, name: Metric, create: () => T): T {
  let found = known.get(name);
  if (found === undefined) {
    found = create();
    known.set(name, found);
  }
  return found;
}

/** Any process can work out the operation id of a run: nothing has to travel with the messages. */
export function traceIdOf(run: string): string {
  return createHash("sha256").update(run).digest("hex").slice(0, 32);
}

function spanIdOf(run: string): string {
  return createHash("sha256").update(run).digest("hex").slice(32, 48);
}

class RunIds extends RandomIdGenerator {
  /** For the span that is started next: the run's own. */
  next: { readonly traceId: string; readonly spanId: string } | undefined;
  readonly #random = new RandomIdGenerator();

  override generateTraceId = (): string => this.next?.traceId ?? this.#random.generateTraceId();
  override generateSpanId = (): string => this.next?.spanId ?? this.#random.generateSpanId();
}
