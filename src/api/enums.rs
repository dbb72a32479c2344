//! The words with a fixed choice. Doc comments of variants do not reach `kubectl explain`; the fields say what they mean.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines an enum whose variants are written as given, with `as_str` and `Display` in the same words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[schemars(extend("maxLength" = 32))]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The word as it is written in the object.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.as_str())
            }
        }
    };
}

words!(
    /// The verdict over a whole run.
    Outcome {
        /// A score of 90 or more.
        Pass = "pass",
        /// A score below 70.
        Fail = "fail",
        /// A score from 70 to 89.
        Partial = "partial",
    }
);

words!(
    /// The outcome of one level or one check.
    LevelStatus {
        /// Everything tested was as it should be.
        Pass = "pass",
        /// Something tested was not.
        Fail = "fail",
        /// Nothing was tested.
        Skip = "skip",
    }
);

words!(
    /// What a test is doing.
    Phase {
        /// It never ran.
        Idle = "Idle",
        /// A run is under way.
        Running = "Running",
        /// The last run was judged.
        Completed = "Completed",
        /// The last run could not be judged.
        Failed = "Failed",
    }
);

words!(
    /// The program that took the backups.
    Provider {
        /// Velero.
        Velero = "velero",
    }
);

words!(
    /// Which of the usable backups `latest` takes.
    Selection {
        /// The newest.
        Newest = "newest",
        /// Any, drawn anew for each run.
        Random = "random",
    }
);

words!(
    /// How far the restored pods may reach.
    NetworkIsolation {
        /// Inside their own sandbox namespace.
        Strict = "strict",
        /// All sandbox namespaces of the run.
        Group = "group",
    }
);

words!(
    /// What happens when isolation cannot be proved.
    IsolationProof {
        /// The run ends before anything is restored.
        Required = "required",
        /// The run goes on and its report says so.
        Report = "report",
    }
);

words!(
    /// What a port outside speaks.
    Protocol {
        /// TCP.
        Tcp = "TCP",
        /// UDP.
        Udp = "UDP",
        /// SCTP.
        Sctp = "SCTP",
    }
);

words!(
    /// The Pod Security level of the sandbox.
    PodSecurity {
        /// Known privilege escalations are refused.
        Baseline = "baseline",
        /// Nothing is refused by Pod Security.
        Privileged = "privileged",
    }
);

words!(
    /// Where a notification goes.
    ChannelType {
        /// A Slack channel.
        Slack = "slack",
        /// Any HTTP endpoint.
        Webhook = "webhook",
    }
);

words!(
    /// Whose logs are collected.
    LogScope {
        /// Pods that did not become ready.
        NotReady = "notReady",
        /// All pods of the sandbox.
        All = "all",
    }
);

words!(
    /// The kind of a check.
    CheckType {
        /// Enough pods are ready.
        PodStatus = "podStatus",
        /// An HTTP answer is as expected.
        HttpGet = "httpGet",
        /// A TCP connection opens.
        TcpSocket = "tcpSocket",
        /// A command succeeds.
        Exec = "exec",
        /// Objects exist.
        ResourceExists = "resourceExists",
    }
);

words!(
    /// The scheme of an HTTP request.
    Scheme {
        /// Plain HTTP.
        Http = "HTTP",
        /// HTTP over TLS.
        Https = "HTTPS",
    }
);
