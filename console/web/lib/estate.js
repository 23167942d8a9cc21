/**
 * All machines, volumes, jobs and alarms, as the server told them last.
 *
 * @module
 */

import { account, get } from './api.js';
import { live } from './live.js';

class Estate extends EventTarget {
    /** @type {Map<string, Api.VolumeLine>} */
    volumes = new Map();
    /** @type {Map<string, Api.MachineLine>} */
    machines = new Map();
    /** @type {Map<string, Api.Job>} */
    jobs = new Map();
    /** @type {Map<string, Api.Alarm>} */
    alarms = new Map();
    /** @type {Api.Server | null} */
    server = null;
    loaded = false;

    /** When each line came, in milliseconds since 1970: its age goes on from there. */
    #came = new Map();

    constructor() {
        super();
        live.addEventListener('overview', (event) => this.#change(detail(event)));
        live.addEventListener('job', (event) => {
            const job = /** @type {Api.Job} */ (detail(event));
            this.jobs.set(job.job, job);
            this.#tell('jobs');
        });
        live.addEventListener('alarm', (event) => {
            const alarm = /** @type {Api.Alarm} */ (detail(event));
            this.alarms.set(alarm.alarm, alarm);
            this.#tell('alarms');
        });
    }

    /** Asks for everything again. */
    async load() {
        const [overview, jobs, alarms, server] = await Promise.all([
            get(['overview']),
            get(['jobs']),
            get(['alarms']),
            get(['server']),
        ]);
        live.clock(overview.now_ms);
        this.server = server;
        this.machines = byId(overview.machines, 'machine');
        this.volumes = byId(overview.volumes, 'volume');
        this.jobs = byId(jobs.jobs, 'job');
        this.alarms = byId(alarms.alarms, 'alarm');
        this.#came = new Map([...this.volumes.keys()].map((id) => [id, Date.now()]));
        this.loaded = true;
        this.#tell('volumes');
        this.#tell('jobs');
        this.#tell('alarms');
    }

    forget() {
        this.loaded = false;
        for (const map of [this.volumes, this.machines, this.jobs, this.alarms]) map.clear();
    }

    /**
     * Whether the server has a feature, and who is signed in the role that it asks for.
     *
     * @param {string} feature
     * @param {Api.Role} [role]
     */
    can(feature, role = 'operator') {
        return account.may(role) && (this.server?.features.includes(feature) ?? false);
    }

    /**
     * Notes a job that the server has just answered with, unless an event of it was here before:
     * that one is newer.
     *
     * @param {Api.Job} job
     */
    started(job) {
        if (this.jobs.has(job.job)) return;
        this.jobs.set(job.job, job);
        this.#tell('jobs');
    }

    /**
     * Notes what is known of a machine before the server tells it.
     *
     * @param {Api.MachineLine} line
     */
    machine(line) {
        this.machines.set(line.machine, line);
        this.#tell('volumes');
    }

    /**
     * The age of a volume's latest point, in seconds.
     *
     * @param {Api.VolumeLine} line
     */
    rpo(line) {
        if (line.rpo_seconds === null) return null;
        const since = Date.now() - (this.#came.get(line.volume) ?? Date.now());
        return line.rpo_seconds + Math.floor(since / 1000);
    }

    /** @param {Api.VolumeLine} line */
    machineName(line) {
        return line.machine === null ? '' : (this.machines.get(line.machine)?.name ?? '');
    }

    /**
     * "D: on web-1".
     *
     * @param {string} volume
     */
    nameOf(volume) {
        const line = this.volumes.get(volume);
        if (!line) return volume;
        const machine = this.machineName(line);
        return machine ? `${line.name} on ${machine}` : line.name;
    }

    /** @param {Api.OverviewChange} change */
    #change(change) {
        live.clock(change.now_ms);
        for (const machine of change.machines) this.machines.set(machine.machine, machine);
        for (const line of change.volumes) {
            this.volumes.set(line.volume, line);
            this.#came.set(line.volume, Date.now());
        }
        for (const id of change.gone) {
            this.volumes.delete(id);
            this.machines.delete(id);
            this.#came.delete(id);
        }
        this.#tell('volumes');
    }

    /** @param {'volumes' | 'jobs' | 'alarms'} name what changed; machines are told with volumes */
    #tell(name) {
        this.dispatchEvent(new Event(name));
    }
}

/** @param {Event} event */
function detail(event) {
    return /** @type {CustomEvent} */ (event).detail;
}

/**
 * @template T
 * @param {T[]} list
 * @param {keyof T} key
 * @returns {Map<string, T>}
 */
function byId(list, key) {
    return new Map(list.map((item) => [String(item[key]), item]));
}

export const estate = new Estate();
