package policy_test

import (
	"context"
	"fmt"
	"time"

	"github.com/wardkey/wardkey/policy"
	"github.com/wardkey/wardkey/policy/policytest"
)

// A patient is shown what she is about to sign.
func ExamplePreview() {
	request, err := policy.ParseGrantRequest([]byte(`{
		"patient": "Patient/p1", "actors": ["Practitioner/7"],
		"classes": ["Observation"], "categories": ["vital-signs"], "purposes": ["TREAT"],
		"from": "2026-11-23T20:00:00+08:00", "until": "2026-11-23T22:00:00+08:00"}`))
	if err != nil {
		panic(err)
	}
	grant, err := policy.Preview(request, time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	if err != nil {
		panic(err)
	}
	grant.ID = "g-example-0001" // otherwise random
	fmt.Println(grant.Sentence().ZH)
	// Output:
	// Patient/p1允许「Practitioner/7」为以下目的读取、检索或查看历史版本病历:治疗。自2026年11月23日20:00(UTC+08:00)起生效,至2026年11月23日22:00(UTC+08:00)终止。仅涉及符合以下条件的病历:类型为Observation(检查与测量)并且类别为生命体征。包括保密级别至「普通」为止的病历;不包括受限或极受限的病历。因此不包括任何标为敏感的内容:精神健康、成瘾、艾滋病病毒、性健康、遗传信息、暴力及其他。(声明g-example-0001,同意与授权,active,第1版。)
}

// Without an entry on the log that says otherwise, the answer is no.
func ExampleEngine_Decide() {
	engine, err := policy.NewEngine(context.Background())
	if err != nil {
		panic(err)
	}
	state := policy.NewState(policytest.Trust()) // then state.Apply(entry) for each entry of the log
	decision := engine.Decide(context.Background(), state, policy.Request{
		Subject: policy.Subject{ID: "Practitioner/7", Roles: []string{"doctor"}, SignIn: 42}, Action: policy.Read, Purpose: "TREAT",
		Scopes: []string{"user/*.rs"}, Resource: policy.Resource{Type: "Observation", ID: "o1", Patient: "Patient/p1", Conf: "N"},
	}, time.Now())
	fmt.Println(decision.Permit, decision.Reason, decision.Rule)
	// Output: false no-session gate.session
}
