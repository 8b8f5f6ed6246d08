import type { Component } from '../../algorithms/descriptor.ts';
import { createCancellation } from '../../core/cancellation.ts';
import type { Clock } from '../../core/clock.ts';
import { ok, type Result } from '../../core/result.ts';
import type { GenerateCall } from '../../dispatch/generation.ts';
import type { GeneratedKey } from '../../engine/engine.ts';
import { buildKeyReference, partName, pooledPartName, poolTenant } from '../../engine/key-reference.ts';
import { type KeyPart, softwareBackend } from '../../keys/record.ts';
import { currentRequest, timed } from '../../observe/tracing.ts';
import type { Lane } from '../../queue/lane.ts';
import type { CallClass } from '../../queue/scheduler.ts';
import type { Custody } from '../custody.ts';

/** Making an RSA-4096 key takes a second or more, and others may wait in front of it. */
const generationDeadlineMs = 30_000;

/** Queueing treats every key alike at first: what one costs is known only once it is made. */
const generationCostUs = { slow: 1_000_000, quick: 1_000 } as const;

/** Keys in our own store, sealed by the engine under the tenant's key; nobody can attest where they are used. */
export function createSoftwareCustody(parts: {
  lane: Pick<Lane<GeneratedKey, GenerateCall>, 'offer'>;
  clock: Clock;
}): Custody {
  function generate(
    component: Component,
    slow: boolean,
    tenant: string,
    aad: string,
  ): Promise<Result<GeneratedKey>> {
    return new Promise((resolve) => {
      const offeredAtMs = parts.clock.monotonicMs();
      const request = currentRequest();
      const times = request?.trace?.work('generate', 1);
      const call: GenerateCall = {
        tenant,
        callClass: 'manage' satisfies CallClass,
        costUs: slow ? generationCostUs.slow : generationCostUs.quick,
        offeredAtMs,
        deadlineAtMs: offeredAtMs + generationDeadlineMs,
        cancellation: createCancellation(),
        job: { kind: 'generate', keyType: component.keyType, tenant, aad },
        ...{ request, times },
        settle: times === undefined ? resolve : timed(times, resolve),
      };
      const offered = parts.lane.offer(call);
      if (!offered.ok) resolve(offered);
    });
  }

  return {
    backend: softwareBackend,
    attestationClass: 'none',
    holds: () => true,

    async generate(algorithm, tenant, versionedKid) {
      const made: KeyPart[] = [];
      for (const [index, component] of algorithm.components.entries()) {
        const key = await generate(
          component,
          algorithm.slowGeneration,
          tenant,
          partName(versionedKid, index),
        );
        if (!key.ok) return key;
        made.push({ publicKey: key.value.publicKey, sealed: key.value.sealed });
      }
      return ok(made);
    },

    keyReference: keyReferenceOf,

    /** Sealed parts are in the records and nowhere else, and go with them. */
    destroy: async () => ok(undefined),
  };
}

/** See Custody. */
export function keyReferenceOf(
  part: KeyPart,
  partIndex: number,
  tenant: string,
  versionedKid: string,
): Uint8Array {
  return part.sealed === undefined
    ? new Uint8Array(0)
    : part.pooled === undefined
      ? buildKeyReference(tenant, partName(versionedKid, partIndex), part.sealed)
      : buildKeyReference(poolTenant, pooledPartName(part.pooled.name), part.sealed);
}
