/** What the API answers, under names that the page uses. The types are made of `console/openapi.yaml`. */

import type { components } from 'openapi';

type Schemas = components['schemas'];

declare global {
    namespace Api {
        type Alarm = Schemas['Alarm'];
        type AuditEntry = Schemas['AuditEntry'];
        type BlockMap = Schemas['BlockMap'];
        type CopyCheck = Schemas['CopyCheck'];
        type Enrolment = Schemas['Enrolment'];
        type Event = Schemas['Event'];
        type FileEntry = Schemas['FileEntry'];
        type Folder = Schemas['Folder'];
        type Heat = Schemas['Heat'];
        type Hello = Schemas['Hello'];
        type History = Schemas['History'];
        type Holds = Schemas['Holds'];
        type Job = Schemas['Job'];
        type JobResult = Schemas['JobResult'];
        type Level = Schemas['Level'];
        type Live = Schemas['Live'];
        type LiveEvent = Schemas['LiveEvent'];
        type MachineLine = Schemas['MachineLine'];
        type MadeToken = Schemas['MadeToken'];
        type Mount = Schemas['Mount'];
        type OverviewChange = Schemas['OverviewChange'];
        type Point = Schemas['Point'];
        type Progress = Schemas['Progress'];
        type Retention = Schemas['Retention'];
        type Role = Schemas['Role'];
        type Server = Schemas['Server'];
        type Session = Schemas['Session'];
        type State = Schemas['State'];
        type Timeline = Schemas['Timeline'];
        type Token = Schemas['Token'];
        type Volume = Schemas['Volume'];
        type VolumeLine = Schemas['VolumeLine'];
    }
}
