//! Japanese.

use std::borrow::Cow;

use http::StatusCode;
use time::Date;

use super::{Destination, Trust, Unanswered, Words};
use crate::config::pages::Language;
use crate::http::pages::line::Line;
use crate::http::pages::line::Part::{N, S, T};
use crate::reject::Code;

pub(super) struct Ja;

impl Words for Ja {
    fn language(&self) -> Language {
        Language::Ja
    }
    fn own_name(&self) -> &'static str {
        "日本語"
    }
    fn date(&self, date: Date) -> String {
        format!(
            "{}年{}月{}日",
            date.year(),
            u8::from(date.month()),
            date.day()
        )
    }

    fn help_from(&self) -> &'static str {
        "お問い合わせ先"
    }
    fn reference(&self) -> &'static str {
        "お問い合わせ番号"
    }
    fn time(&self) -> &'static str {
        "時刻 (UTC)"
    }
    fn code(&self) -> &'static str {
        "コード"
    }
    fn if_it_goes_on(&self) -> &'static str {
        "解決しない場合は、このお問い合わせ番号をサービスの管理者に伝えてください。"
    }
    fn details(&self) -> &'static str {
        "技術的な詳細"
    }

    fn error_title(&self, code: Code) -> &'static str {
        match code {
            Code::BadRequest | Code::BadTarget | Code::HeadersTooLarge => {
                "このリクエストには応答できません"
            }
            Code::BodyTooLarge => "送信する内容が大きすぎます",
            Code::RequestTimeout => "リクエストに時間がかかりすぎました",
            Code::MethodNotAllowed => "このアドレスはその方法では使えません",
            Code::NotFound => "このアドレスには何もありません",
            Code::UnknownSession => "このセッションは存在しません",
            Code::Misdirected => "リクエストの宛先が違います",
            Code::OriginRefused => "リクエストが別のサイトから送られました",
            Code::Unauthenticated | Code::InvalidToken => "サインインしてください",
            Code::InsufficientScope | Code::Forbidden | Code::PolicyDenied => {
                "利用する権限がありません"
            }
            Code::LoginFailed => "サインインできませんでした",
            Code::LoginExpired => "このサインインのリンクは無効になりました",
            Code::ProviderUnavailable | Code::KeysUnavailable => {
                "サインインサービスに接続できません"
            }
            Code::StoreUnavailable => "サインインの状態を確認できません",
            Code::AuditUnavailable => "ただいま記録を残せません",
            Code::BackendUnreachable | Code::BackendTimeout | Code::BackendFailed => {
                "接続先のサーバーに問題があります"
            }
            Code::BackendBusy | Code::TooManyRequests | Code::TooManySessions => {
                "ただいま混み合っています"
            }
            Code::Draining => "サービスを再起動しています",
            Code::Internal => "こちら側で問題が発生しました",
        }
    }
    fn error_text<'a>(&self, code: Code, status: StatusCode, _: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(match code {
            Code::BadRequest | Code::BadTarget | Code::HeadersTooLarge => {
                "送られた内容を読み取れません。アドレスを確認するか、元の画面からやり直してください。"
            }
            Code::BodyTooLarge => "受け付けられる大きさを超えています。内容を小さくしてください。",
            Code::RequestTimeout => {
                "最後まで届く前に時間切れになりました。もう一度お試しください。"
            }
            Code::MethodNotAllowed => "元の画面に戻って、やり直してください。",
            Code::NotFound => "アドレスを確認してください。",
            Code::UnknownSession => "新しいセッションを始めてください。",
            Code::Misdirected => "このサービスの宛先ではありません。アドレスを確認してください。",
            Code::OriginRefused => {
                "別のサイトから送られたため、何も行いませんでした。このサービスの画面から操作してください。"
            }
            Code::Unauthenticated | Code::InvalidToken => "利用するにはサインインが必要です。",
            Code::InsufficientScope | Code::Forbidden | Code::PolicyDenied => {
                "サインインしていますが、このアカウントでは利用できません。別のアカウントを使うか、管理者に依頼してください。"
            }
            Code::LoginFailed if status == StatusCode::FORBIDDEN => {
                "サインインが取り消されたか、許可されませんでした。もう一度試すか、別のアカウントを使ってください。"
            }
            Code::LoginFailed => {
                "サインインサービスからの応答を受け付けられませんでした。もう一度サインインしてください。"
            }
            Code::LoginExpired => {
                "このサインインはすでに使われたか、時間切れか、別のブラウザーで始められたものです。ブラウザーが Cookie を拒否している場合もあります。ここからもう一度サインインしてください。"
            }
            Code::ProviderUnavailable | Code::KeysUnavailable => {
                "サインインサービスが応答しません。サインアウトはされていません。しばらくしてから、もう一度お試しください。"
            }
            Code::StoreUnavailable => {
                "ただいまサインインの状態を確認できません。サインアウトはされていません。しばらくしてから、もう一度お試しください。"
            }
            Code::AuditUnavailable => {
                "操作の記録を残す必要がありますが、ただいま残せないため、何も行いませんでした。しばらくしてから、もう一度お試しください。"
            }
            Code::BackendUnreachable | Code::BackendTimeout | Code::BackendFailed => {
                "サインインとこのサービスは正常ですが、接続先のサーバーが応答しませんでした。しばらくしてから、もう一度お試しください。"
            }
            Code::BackendBusy | Code::TooManyRequests | Code::TooManySessions => {
                "しばらくしてから、もう一度お試しください。"
            }
            Code::Draining => "すぐに再開します。もう一度お試しください。",
            Code::Internal => {
                "お客様の操作に問題はありません。お問い合わせ番号で記録を確認できます。"
            }
        })
    }
    fn sign_in(&self) -> &'static str {
        "サインイン"
    }
    fn sign_in_again(&self) -> &'static str {
        "もう一度サインイン"
    }
    fn try_again(&self) -> &'static str {
        "もう一度試す"
    }

    fn signed_in_as(&self) -> &'static str {
        "サインイン中のアカウント:"
    }
    fn account_of(&self, issuer: &str) -> String {
        format!("{issuer} のアカウント")
    }
    fn not_you(&self) -> &'static str {
        "ご本人ではありませんか?"
    }
    fn use_another_account(&self) -> &'static str {
        "別のアカウントを使う"
    }

    fn sign_in_text<'a>(&self, service: &'a str) -> Line<'a> {
        Line::of(&[
            N(service),
            T(" には、所属する組織のアカウントでサインインします。"),
        ])
    }
    fn sign_in_with<'a>(&self, provider: &'a str) -> Line<'a> {
        Line::of(&[N(provider), T(" でサインイン")])
    }
    fn sign_in_note(&self) -> &'static str {
        "サインインの後、ここに戻ります。このサービスにパスワードは伝わりません。"
    }
    fn sign_out(&self) -> &'static str {
        "サインアウト"
    }
    fn sign_out_title(&self) -> &'static str {
        "サインアウトしますか?"
    }
    fn sign_out_text<'a>(&self, service: &'a str) -> Line<'a> {
        Line::of(&[
            T("このブラウザーでの "),
            N(service),
            T(" の利用を終了します。"),
        ])
    }
    fn stay_signed_in(&self) -> &'static str {
        "サインアウトしない"
    }
    fn signed_out_title(&self) -> &'static str {
        "サインアウトしました"
    }
    fn signed_out_text<'a>(&self, service: &'a str) -> Line<'a> {
        Line::of(&[
            T("このブラウザーでの "),
            N(service),
            T(" の利用を終了しました。"),
        ])
    }
    fn signed_out_here_only(&self) -> &'static str {
        "サインインサービスにはサインインしたままの場合があり、次回はパスワードを求められないことがあります。共用のコンピューターでは、そちらからもサインアウトしてください。"
    }

    fn unnamed_app(&self) -> &'static str {
        "名前のないアプリ"
    }
    fn consent_title<'a>(&self, app: &'a str, server: &'a str) -> Line<'a> {
        Line::of(&[
            T("「"),
            N(app),
            T("」に "),
            N(server),
            T(" の利用を許可しますか?"),
        ])
    }
    fn consent_text<'a>(&self, app: &'a str, server: &'a str) -> Line<'a> {
        Line::of(&[
            T("「"),
            N(app),
            T("」は、あなたに代わって、組織があなたに許可している "),
            N(server),
            T(" のツールを使えるようになります。"),
        ])
    }
    fn trust<'a>(&self, trust: Trust<'a>, app: &'a str) -> Line<'a> {
        match trust {
            Trust::Operator => Line::of(&[T("管理者が登録したアプリです。")]),
            Trust::Host(host) => Line::of(&[T("確認済みのウェブアドレス: "), S(host)]),
            Trust::Nobody => Line::of(&[T("「"), N(app), T("」と名乗っています。未確認です。")]),
        }
    }
    fn destination<'a>(&self, destination: Destination<'a>) -> Line<'a> {
        match destination {
            Destination::Web(host) => Line::of(&[S(host), T(" に移動します。")]),
            Destination::Loopback(host) => Line::of(&[
                T("このコンピューター上のアプリ ("),
                S(host),
                T(") に移動します。"),
            ]),
            Destination::App(scheme) => {
                Line::of(&[S(scheme), T(" リンクを開くアプリに移動します。")])
            }
        }
    }
    fn caution(&self, destination: Destination<'_>) -> &'static str {
        match destination {
            Destination::Web(_) => {
                "このアドレスに心当たりがあり、ご自身で始めた場合にだけ続けてください。"
            }
            Destination::Loopback(_) | Destination::App(_) => {
                "このコンピューター上のどのアプリでも、この方法で許可を求めることができます。たった今ご自身で始めた場合にだけ続けてください。"
            }
        }
    }
    fn what_it_gets(&self) -> &'static str {
        "許可する内容"
    }
    fn gets_tools<'a>(&self, server: &'a str) -> Line<'a> {
        Line::of(&[T("あなたの名前での "), N(server), T(" の利用")])
    }
    fn gets_scope<'a>(&self, scope: &'a str) -> Line<'a> {
        Line::of(&[T("権限 "), S(scope)])
    }
    fn keeps_access(&self, until: Date) -> String {
        format!(
            "あなたが操作していない間も利用できます (最長 {} まで)",
            self.date(until)
        )
    }
    fn until(&self, until: Date) -> String {
        format!("最長 {} まで", self.date(until))
    }
    fn remember(&self) -> &'static str {
        "このアプリを自分で始めたときは、次回から確認しない"
    }
    fn allow(&self) -> &'static str {
        "アクセスを許可"
    }
    fn deny(&self) -> &'static str {
        "拒否"
    }
    fn detail_app_id(&self) -> &'static str {
        "アプリの ID"
    }
    fn detail_redirect(&self) -> &'static str {
        "戻り先"
    }
    fn detail_registration(&self) -> &'static str {
        "登録方法"
    }
    fn detail_kind(&self, trust: Trust<'_>) -> &'static str {
        match trust {
            Trust::Operator => "管理者による登録",
            Trust::Host(_) => "ウェブアドレスにある文書",
            Trust::Nobody => "アプリ自身による登録",
        }
    }
    fn detail_server(&self) -> &'static str {
        "サーバー"
    }
    fn detail_scopes(&self) -> &'static str {
        "スコープ"
    }
    fn detail_limit(&self) -> &'static str {
        "この画面"
    }
    fn detail_limit_text(&self, minutes: u64) -> String {
        format!("{minutes} 分間回答できます")
    }

    fn returning_title<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[T("「"), N(app), T("」に戻ります")])
    }
    fn returning_text(&self) -> &'static str {
        "何も起こらない場合は、ボタンを押してください。その後、このタブは閉じてかまいません。"
    }
    fn not_allowed_text<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[T("「"), N(app), T("」には何も許可していません。")])
    }
    fn open_app<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[T("「"), N(app), T("」を開く")])
    }
    fn wrong_request_title(&self) -> &'static str {
        "アプリからの要求に応答できません"
    }
    fn wrong_request_text<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[
            T("「"),
            N(app),
            T(
                "」から送られた内容が不完全か、ここでは許可されていません。お客様の操作に問題はありません。アプリに戻ってやり直してください。解決しない場合は、下のコードをアプリの作成者に伝えてください。",
            ),
        ])
    }
    fn back_to<'a>(&self, app: &'a str, host: &'a str) -> Line<'a> {
        Line::of(&[T("「"), N(app), T("」("), N(host), T(") に戻る")])
    }

    fn stopped_title(&self) -> &'static str {
        "この要求を中止しました"
    }
    fn stopped_unknown_app(&self) -> &'static str {
        "ここに移動させたアプリは、このサービスに登録されていないか、登録が無効になっています。"
    }
    fn stopped_unknown_app_of<'a>(&self, host: &'a str) -> Line<'a> {
        Line::of(&[
            S(host),
            T(" のアプリはここでは使えません。アプリの説明文書を受け付けられませんでした。"),
        ])
    }
    fn stopped_redirect<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[
            T("「"),
            N(app),
            T("」が、登録していないアドレスへ移動させようとしました。移動は行っていません。"),
        ])
    }
    fn stopped_request(&self) -> &'static str {
        "アプリから送られた内容を読み取れません。"
    }
    fn stopped_what_to_do(&self) -> &'static str {
        "アプリに戻り、このサーバーの設定を削除してから、もう一度追加してください。ご自身で始めたものでなければ、この画面を閉じてください。"
    }
    fn stopped_for_operator(&self) -> &'static str {
        "管理者向けの情報"
    }

    fn refused_title<'a>(&self, server: &'a str) -> Line<'a> {
        Line::of(&[N(server), T(" を利用する権限がありません")])
    }
    fn refused_text<'a>(&self, app: &'a str) -> Line<'a> {
        Line::of(&[
            T("「"),
            N(app),
            T(
                "」があなたの名前での利用を求めましたが、このアカウントではこのサーバーを利用できません。アプリには何も渡していません。",
            ),
        ])
    }
    fn refused_what_to_do(&self) -> &'static str {
        "別のアカウントを使うか、サービスの管理者に依頼してください。"
    }

    fn unanswered_title(&self, why: Unanswered) -> &'static str {
        match why {
            Unanswered::Used => "この画面はすでに使われました",
            Unanswered::Expired => "この画面の有効期限が切れました",
            Unanswered::OtherSession => "この画面は別のサインインのものです",
            Unanswered::OtherSite => "リクエストが別のサイトから送られました",
        }
    }
    fn unanswered_text(&self, why: Unanswered) -> &'static str {
        match why {
            Unanswered::Used => {
                "回答はすでに受け付けました。回答は一度だけ有効です。アプリが待ち続けている場合は、アプリに戻ってやり直してください。"
            }
            Unanswered::Expired => {
                "何も許可していません。画面を開き直すか、アプリに戻ってやり直してください。"
            }
            Unanswered::OtherSession => {
                "何も許可していません。画面を開いた後にサインアウトしたか、アカウントが変わったか、別の人が開いたものです。"
            }
            Unanswered::OtherSite => {
                "何も許可していません。この回答は、このサービスの画面からだけ送ることができます。"
            }
        }
    }
    fn start_again(&self) -> &'static str {
        "画面を開き直す"
    }

    fn help_title(&self) -> &'static str {
        "このアドレスは AI アプリ用です"
    }
    fn help_text<'a>(&self, server: &'a str) -> Line<'a> {
        Line::of(&[
            T("これは MCP サーバー "),
            S(server),
            T(
                " のアドレスで、閲覧用のページではありません。お使いのアプリに追加すると、アプリからサインインを求められます。",
            ),
        ])
    }
    fn help_sign_in(&self) -> &'static str {
        "サインインして、利用できるかどうかを確認する"
    }
    fn help_may(&self) -> &'static str {
        "このアカウントでサーバーを利用できます。"
    }
    fn help_may_not(&self) -> &'static str {
        "このアカウントではサーバーを利用できません。別のアカウントを使うか、サービスの管理者に依頼してください。"
    }
    fn help_add(&self) -> &'static str {
        "アプリに追加する"
    }
    fn help_chatgpt(&self) -> [&'static str; 3] {
        [
            "設定で開発者モードを有効にします。",
            "「アプリ」(または「コネクター」) で「作成」を選びます。",
            "上のアドレスを貼り付け、認証方法に OAuth を選びます。",
        ]
    }
    fn help_files(&self) -> &'static str {
        "その他のアプリの設定ファイル"
    }
    fn help_other(&self) -> &'static str {
        "使っているアプリが一覧にない場合"
    }
    fn help_other_text(&self) -> &'static str {
        "アプリの設定で「MCP サーバー」または「コネクター」を探し、アドレスを貼り付けてください。多くのアプリは次のような設定ファイルを読み込みます。"
    }
}
